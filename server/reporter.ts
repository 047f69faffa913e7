/**
 * @file Shows a run as it goes: a bar of local steps with rate and time left, and a line for each round and each thing that happens.
 */
import { byteSize, downloadReport, duration, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import type { HubEvent } from '../shared/model/hub/snapshot.node.js'
import type { RoundLine, RunEvent, StepLine } from '../shared/run-records.js'
import type { HostedRun } from './host.js'
import type { Activity, RunObserver } from './observer.js'

/** Events that a person wants to hear of while they happen. */
const SHOWN: Readonly<Record<string, (event: RunEvent) => string>> = {
  warning: ({ reason }) => `warning: ${reason}`,
  join: ({ client }) => `${client} has joined`,
  leave: ({ client, reason }) => `${client} has left: ${reason}`,
  refused: ({ client, reason }) => `${client ?? 'a client'} was refused: ${reason}`,
  'connection-lost': ({ client }) => `${client}: connection lost, waiting for it`,
  retry: ({ client }) => `${client}: connected again`,
  deadline: ({ client, round, step }) =>
    `${client} missed the deadline of ${typeof step === 'number' ? `round ${round}, step ${step}` : `the evaluation of round ${round}`}`,
  codecs: ({ client, round, reason }) => `${client} from round ${round}: ${reason}`,
  resume: ({ round, reason }) => `goes on with round ${round}, ${reason}`,
  'checkpoint-torn': ({ reason }) => `warning: ${reason}`,
  'state-missing': ({ client, reason }) => `warning: ${client}: ${reason}`,
  restart: ({ round, attempt, reason }) => `round ${round} starts again, as attempt ${String(attempt)}: ${reason}`,
  missing: ({ client, round, reason }) => `round ${round} ended without ${client}: ${reason}`,
}

/** Activities as the bar tells them; in training it shows the steps. */
const DOING: Readonly<Record<Exclude<Activity['doing'], 'training'>, (clients: string, round: number) => string>> = {
  opening: () => 'opening the model',
  checking: () => 'reading the rows',
  preparing: () => 'preparing the weights',
  compiling: () => "compiling the server's blocks",
  gathering: (clients) => (clients === '' ? 'waiting for clients to join' : `waiting for ${clients} to load model and rows`),
  awaiting: (clients) => `waiting for ${clients} to come back`,
  collecting: (clients) => `waiting for the adapter of ${clients}`,
  merging: () => 'merging adapters',
  evaluating: (clients, round) => `evaluating${round === 0 ? ' before training' : ''}: waiting for ${clients}`,
}

/** More are counted, not named. */
const MOST_NAMES = 2

/** Of more clients a person hears how many have joined, a tenth of them at a time, and not which. */
const MOST_TOLD = 20

export class RunReporter implements RunObserver {
  private bar: Progress | null = null
  /** Whether the bar counts steps; before the first it only has words. */
  private isTraining = false
  private steps = 0
  private joined = 0
  /** Rounds that were made before the run was interrupted. */
  private roundsBefore = 0
  /** What the bar was made for. */
  private shown: Activity['doing'] | null = null

  private readonly downloads: (event: HubEvent) => void

  constructor(
    private readonly context: CommandContext,
    private readonly config: Config,
  ) {
    this.downloads = downloadReport(context)
  }

  start({ directory, model }: HostedRun): void {
    const { split, federation } = this.config
    const { layers } = model.architecture
    this.context.event(
      {
        event: 'start',
        run_dir: directory.folder,
        model: model.name,
        layers,
        clients: clientCount(this.config),
        rounds: federation.num_rounds,
      },
      `run ${directory.folder}\n${model.name}: ${layers} blocks, ${(model.parameters / 1e6).toFixed(1)}M parameters; ${whereBlocksAre(split, layers, clientCount(this.config))}`,
    )
  }

  /** Of the model; its bar takes the place of the one that is there. */
  download(event: HubEvent): void {
    if (event.type === 'begin') {
      this.bar?.finish()
      this.bar = null
    }
    this.downloads(event)
  }

  event(event: RunEvent): void {
    if (event.event === 'resume') this.roundsBefore = Math.max(0, (event.round ?? 0) - 1)
    const text = event.event === 'join' ? this.joinText(event) : SHOWN[event.event]?.(event)
    // Scripts are told of everyone.
    if (text !== undefined && (text !== null || this.context.format === 'json')) this.context.event({ ...event }, text ?? '')
  }

  /** null: nothing worth a line. */
  private joinText(event: RunEvent): string | null {
    this.joined++
    const clients = clientCount(this.config)
    if (clients <= MOST_TOLD) return SHOWN.join(event)
    const isDue = this.joined === clients || this.joined % Math.ceil(clients / 10) === 0
    return isDue ? `${this.joined} of ${clients} clients have joined` : null
  }

  step({ client, round, loss }: StepLine): void {
    if (client === null) return
    this.steps++
    this.bar?.update(this.steps, `round ${round}${loss === null ? '' : `, loss ${loss.toFixed(3)}`}`)
  }

  activity({ doing, round, clients }: Activity): void {
    if (doing === 'training') return this.startBar()
    const text = DOING[doing](clients.length > MOST_NAMES ? `${clients.length} clients` : clients.join(', '), round)
    if (this.isTraining) return this.bar?.update(this.steps, text)
    const total = clientCount(this.config)
    const isCounting = doing === 'gathering' && total > MOST_TOLD
    if (!isCounting || this.shown !== doing) {
      this.bar?.finish()
      this.bar = isCounting ? this.context.progress('clients that are ready', total) : this.context.progress(text, 0)
      this.shown = doing
    }
    this.bar?.update(isCounting ? Math.max(0, this.joined - clients.length) : 0)
  }

  private startBar(): void {
    if (this.isTraining) return
    this.isTraining = true
    this.bar?.finish()
    const { num_rounds, local_steps, fraction_train } = this.config.federation
    // How many steps an epoch has, and how many clients a round, is for the rows and the strategy to say.
    const isKnown = local_steps !== null && fraction_train === 1
    this.bar = this.context.progress('local steps', isKnown ? (num_rounds - this.roundsBefore) * local_steps * clientCount(this.config) : 0)
    this.bar.update(0)
  }

  round(line: RoundLine): void {
    const sum = (key: 'uplink_bytes' | 'downlink_bytes'): number => line.clients.reduce((total, client) => total + client[key], 0)
    const number = (value: number | null, digits: number): string => (value === null ? '-' : value.toFixed(digits))
    const { round, train_loss, eval_loss, eval_perplexity, seconds } = line
    const [up, down] = [sum('uplink_bytes'), sum('downlink_bytes')]
    const text =
      round === 0
        ? `before training: held-out loss ${number(eval_loss, 3)}, perplexity ${number(eval_perplexity, 2)}, ${duration(seconds)}`
        : `round ${round}/${this.config.federation.num_rounds}: train loss ${number(train_loss, 3)}, perplexity ${number(eval_perplexity, 2)}, up ${byteSize(up)}, down ${byteSize(down)}, ${duration(seconds)}`
    this.context.event(
      { event: 'round', round, train_loss, eval_loss, eval_perplexity, uplink_bytes: up, downlink_bytes: down, seconds },
      text,
    )
  }

  traffic(): void {}
  adapter(): void {}
  work(): void {}

  finish(): void {
    this.bar?.finish()
  }
}

/** `blocks 0-1 on each of 4 clients, the rest on the server`, said for every cut. */
function whereBlocksAre({ topology, cut_layer: cut }: Config['split'], layers: number, clients: number): string {
  const each = clients === 1 ? 'the client' : `each of ${clients} clients`
  if (topology !== 'split') return `the whole model on ${each}`
  if (cut === 0) return 'all blocks on the server'
  const blocks = cut === layers ? 'all blocks' : cut === 1 ? 'block 0' : `blocks 0-${cut - 1}`
  return `${blocks} on ${each}, ${cut === layers ? 'the head' : 'the rest'} on the server`
}
