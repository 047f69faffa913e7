/**
 * @file Tells what a client does while it does it: a bar of local steps on a terminal, a line for each round, JSON for scripts.
 */
import type { EventRecord } from '../shared/command-line/command.node.js'
import { byteSize, duration, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import type { Traffic } from '../shared/protocol/link.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { FetchReport } from './fetch-report.node.js'
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
  /** Of the round that the bar is about. */
  private steps = 0
  private roundStarted = 0
  private isInRound = false
  private readonly fetching: FetchReport
  private readonly bytes = { up: 0, down: 0 }
  private sums = { run: null as string | null, rounds: 0, steps: 0, examples: 0, tokens: 0, finished: null as string | null }

  constructor(
    private readonly context: CommandContext,
    private readonly client: string,
  ) {
    this.fetching = new FetchReport(context)
  }

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
        this.context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
        return this.wait('opening the model and the rows')
      }
      case 'fetch':
        this.endBar()
        this.fetching.hear(event, performance.now())
        if (event.doneBytes >= event.totalBytes) this.wait('opening the model and the rows')
        return
      case 'ready': {
        const { examples, tokens, evalExamples } = event.data
        Object.assign(this.sums, { examples, tokens })
        this.context.event(
          { event: 'ready', examples, tokens, eval_examples: evalExamples },
          `ready: ${examples} training rows with ${tokens} scored tokens, ${evalExamples} held-out rows; waiting for the server`,
        )
        return this.wait('waiting for the server and the other clients')
      }
      case 'round':
        this.endBar()
        this.isInRound = true
        this.roundStarted = performance.now()
        this.steps = event.steps
        this.bar = this.context.progress(`round ${event.round}`, event.steps)
        this.bar.update(0)
        return this.forScripts({ event: 'round-start', round: event.round, steps: event.steps })
      case 'step':
        this.sums.steps++
        this.bar?.update(
          event.step + 1,
          [...lossOf(event), ...(event.step + 1 < event.steps ? [] : ['waiting for the other clients'])].join(', '),
        )
        return this.forScripts({ event: 'step', round: event.round, step: event.step, steps: event.steps, loss: event.loss })
      case 'dropped':
        return this.context.event(
          { event: 'dropped', round: event.round, step: event.step, reason: event.reason },
          `round ${event.round}: step ${event.step} does not count (${event.reason})`,
        )
      case 'evaluate':
        if (!this.isInRound) return this.wait(event.round === 0 ? 'evaluating before training' : `evaluating after round ${event.round}`)
        return this.bar?.update(this.steps, 'evaluating')
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

  /** Says what the time goes into, where steps cannot be counted. */
  private wait(words: string): void {
    this.endBar()
    this.bar = this.context.progress(words, 0)
    this.bar.update(0)
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
    this.fetching.end()
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

function lossOf({ loss }: { readonly loss: number | null }): string[] {
  return loss === null ? [] : [`loss ${loss.toFixed(3)}`]
}

/** The summary for a person. */
export function summaryText(summary: ClientSummary): string {
  const { client, run, rounds, steps, examples, uplink_bytes: up, downlink_bytes: down, seconds, finished } = summary
  if (run === null) return `${client} left before it joined a run`
  const ending = finished === null ? `left ${run}` : `finished ${run}`
  return `${client} ${ending}: ${steps} local steps in ${rounds} ${rounds === 1 ? 'round' : 'rounds'} on ${examples} rows, up ${byteSize(up)}, down ${byteSize(down)} (${duration(seconds)})`
}
