/**
 * @file Shows a run as it goes: a bar of local steps with rate and time left, and a line for each round and each thing that happens.
 */
import { byteSize, duration, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import type { RoundLine, RunEvent, StepLine } from '../shared/run-records.js'
import type { HostedRun } from './host.js'
import type { RunObserver } from './observer.js'

/** Events that a person wants to hear of while they happen. */
const SHOWN: Readonly<Record<string, (event: RunEvent) => string>> = {
  join: ({ client }) => `${client} has joined`,
  leave: ({ client, reason }) => `${client} has left: ${reason}`,
  refused: ({ client, reason }) => `${client ?? 'a client'} was refused: ${reason}`,
  'connection-lost': ({ client }) => `${client}: connection lost, waiting for it`,
  retry: ({ client }) => `${client}: connected again`,
  deadline: ({ client, round, step }) =>
    `${client} missed the deadline of ${typeof step === 'number' ? `round ${round}, step ${step}` : `the evaluation of round ${round}`}`,
  missing: ({ client, round, reason }) => `${client} is not in round ${round}'s mean: ${reason}`,
}

export class RunReporter implements RunObserver {
  private bar: Progress | null = null
  private steps = 0

  constructor(
    private readonly context: CommandContext,
    private readonly config: Config,
  ) {}

  start({ directory, model }: HostedRun): void {
    const { split, federation } = this.config
    const { layers } = model.architecture
    const where =
      split.topology === 'split'
        ? `blocks 0-${split.cut_layer - 1} on ${clientCount(this.config)} clients, the rest on the server`
        : 'all on one client'
    this.context.event(
      {
        event: 'start',
        run_dir: directory.folder,
        model: model.name,
        layers,
        clients: clientCount(this.config),
        rounds: federation.num_rounds,
      },
      `run ${directory.folder}\n${model.name}: ${layers} blocks, ${(model.parameters / 1e6).toFixed(1)}M parameters; ${split.cut_layer === 0 ? 'all blocks on the server' : where}`,
    )
  }

  event(event: RunEvent): void {
    const show = SHOWN[event.event]
    if (show) this.context.event({ ...event }, show(event))
  }

  step({ client, round, step, loss }: StepLine): void {
    if (client === null) return
    this.steps++
    const { num_rounds, local_steps } = this.config.federation
    if (local_steps === null) return
    this.bar ??= this.context.progress('local steps', num_rounds * local_steps * clientCount(this.config))
    this.bar.update(this.steps, `round ${round} step ${step}${loss === null ? '' : ` loss ${loss.toFixed(3)}`}`)
  }

  round(line: RoundLine): void {
    const sum = (key: 'uplink_bytes' | 'downlink_bytes'): number => line.clients.reduce((total, client) => total + client[key], 0)
    const number = (value: number | null, digits: number): string => (value === null ? '-' : value.toFixed(digits))
    const { round, train_loss, eval_loss, eval_perplexity, seconds } = line
    const [up, down] = [sum('uplink_bytes'), sum('downlink_bytes')]
    const text =
      round === 0
        ? `before training: held-out loss ${number(eval_loss, 4)}, perplexity ${number(eval_perplexity, 2)} (${duration(seconds)})`
        : `round ${round}/${this.config.federation.num_rounds}: train loss ${number(train_loss, 4)}, held-out loss ${number(eval_loss, 4)}, perplexity ${number(eval_perplexity, 2)}, up ${byteSize(up)}, down ${byteSize(down)} (${duration(seconds)})`
    this.context.event(
      { event: 'round', round, train_loss, eval_loss, eval_perplexity, uplink_bytes: up, downlink_bytes: down, seconds },
      text,
    )
  }

  traffic(): void {}
  adapter(): void {}

  finish(): void {
    this.bar?.finish()
  }
}
