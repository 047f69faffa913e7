/**
 * @file Tells what a client does while it does it: a bar of local steps on a terminal, a line for each round, JSON for scripts.
 */
import type { EventRecord } from '../shared/command-line/command.node.js'
import { byteSize, duration, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import type { Traffic } from '../shared/protocol/link.js'
import { whatLeaves } from '../shared/what-leaves.js'
import type { TrainerEvent } from './trainer.js'

/** What a client did in a run: `data` of its envelope. */
export interface ClientSummary {
  readonly client: string
  /** null if the server never said. */
  readonly run: string | null
  /** Rounds that it was part of to their end. */
  readonly rounds: number
  /** Local steps that it made. */
  readonly steps: number
  /** Training rows, and scored tokens in them. */
  readonly examples: number
  readonly tokens: number
  readonly uplink_bytes: number
  readonly downlink_bytes: number
  readonly seconds: number
  /** Why the server ended the run; null if this client left before. */
  readonly finished: string | null
}

export class ClientReport {
  private bar: Progress | null = null
  private readonly started = performance.now()
  private roundStarted = 0
  private isInRound = false
  private readonly bytes = { up: 0, down: 0 }
  private sums = { run: null as string | null, rounds: 0, steps: 0, examples: 0, tokens: 0, finished: null as string | null }

  constructor(
    private readonly context: CommandContext,
    private readonly client: string,
  ) {}

  traffic({ direction, wireBytes }: Traffic): void {
    this.bytes[direction] += wireBytes
  }

  hear(event: TrainerEvent): void {
    switch (event.kind) {
      case 'welcome': {
        const { run, config, model } = event.welcome
        this.sums.run = run
        const where =
          config.split.topology === 'split' ? `the first ${config.split.cut_layer} of ${model.layers} blocks here` : 'the whole model here'
        this.context.event({ event: 'welcome', run, model: model.name, layers: model.layers }, `joined ${run}: ${model.name}, ${where}`)
        return this.context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
      }
      case 'ready': {
        const { examples, tokens, evalExamples } = event.data
        Object.assign(this.sums, { examples, tokens })
        return this.context.event(
          { event: 'ready', examples, tokens, eval_examples: evalExamples },
          `ready: ${examples} training rows with ${tokens} scored tokens, ${evalExamples} held-out rows; waiting for the server`,
        )
      }
      case 'round':
        this.endBar()
        this.isInRound = true
        this.roundStarted = performance.now()
        this.bar = this.context.progress(`round ${event.round}`, event.steps)
        return this.forScripts({ event: 'round-start', round: event.round, steps: event.steps })
      case 'step':
        this.sums.steps++
        this.bar?.update(event.step + 1, event.loss === null ? '' : `loss ${event.loss.toFixed(3)}`)
        return this.forScripts({ event: 'step', round: event.round, step: event.step, steps: event.steps, loss: event.loss })
      case 'dropped':
        return this.context.event(
          { event: 'dropped', round: event.round, step: event.step, reason: event.reason },
          `round ${event.round}: step ${event.step} does not count (${event.reason})`,
        )
      case 'round-end':
        return this.roundEnd(event)
      case 'finish':
        this.endBar()
        this.sums.finished = event.reason
        return this.context.event({ event: 'finish', reason: event.reason }, `the server has ended the run: ${event.reason}`)
    }
  }

  private roundEnd({ round, trainLoss, evalLoss }: Extract<TrainerEvent, { kind: 'round-end' }>): void {
    this.endBar()
    const number = (value: number | null): string => (value === null ? '-' : value.toFixed(4))
    const seconds = this.isInRound ? (performance.now() - this.roundStarted) / 1000 : null
    if (this.isInRound) this.sums.rounds++
    this.isInRound = false
    const name = round === 0 ? 'before training' : `round ${round}`
    const losses = [...(round === 0 ? [] : [`train loss ${number(trainLoss)}`]), `held-out loss ${number(evalLoss)}`].join(', ')
    const bytes = `up ${byteSize(this.bytes.up)}, down ${byteSize(this.bytes.down)} so far`
    this.context.event(
      {
        event: 'round-end',
        round,
        train_loss: trainLoss,
        eval_loss: evalLoss,
        seconds,
        uplink_bytes: this.bytes.up,
        downlink_bytes: this.bytes.down,
      },
      `${name}: ${losses} (all clients), ${bytes}${seconds === null ? '' : ` (${duration(seconds)})`}`,
    )
  }

  /** Too many for a person: a bar shows them, or nothing. */
  private forScripts(record: EventRecord): void {
    if (this.context.format === 'json') this.context.event(record, '')
  }

  private endBar(): void {
    this.bar?.finish()
    this.bar = null
  }

  /** Ends the bar, whatever happened. */
  end(): ClientSummary {
    this.endBar()
    const { run, rounds, steps, examples, tokens, finished } = this.sums
    const seconds = Math.round(performance.now() - this.started) / 1000
    return {
      client: this.client,
      run,
      rounds,
      steps,
      examples,
      tokens,
      uplink_bytes: this.bytes.up,
      downlink_bytes: this.bytes.down,
      seconds,
      finished,
    }
  }
}

/** The summary for a person. */
export function summaryText(summary: ClientSummary): string {
  const { client, run, rounds, steps, examples, uplink_bytes: up, downlink_bytes: down, seconds, finished } = summary
  if (run === null) return `${client} left before it joined a run`
  const ending = finished === null ? `left ${run}` : `finished ${run}`
  return `${client} ${ending}: ${steps} local steps in ${rounds} round(s) on ${examples} rows, up ${byteSize(up)}, down ${byteSize(down)} (${duration(seconds)})`
}
