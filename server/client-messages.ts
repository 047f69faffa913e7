/**
 * @file Reads what clients send once they are in the run: what the round machine awaits is checked and handed on, all else changes nothing.
 */
import { UserError, unreachable } from '../shared/errors.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { ClientMessage, MessageOf } from '../shared/protocol/messages.js'
import type { ClientAdapters, Counts } from './client-adapters.js'
import type { ClientCodecs } from './client-codecs.js'
import type { Inflight } from './inflight.js'
import type { ModelDesk } from './model-desk.js'
import { invalid } from './invalid.js'
import type { RunObserver } from './observer.js'
import { isAdapterAwaited, isAwaited, isEvaluationAwaited, isReportAwaited, isStepAwaited, stepsOfClient } from './round-queries.js'
import type { RoundRecords } from './round-records.js'
import type { RoundRunner } from './round-runner.js'
import type { ClientId, Member, RoundSettings } from './round-state.js'
import { requestKey, requestPrefix, type Roster } from './roster.js'
import type { StepEngine } from './step-engine.js'

export interface ClientMessagesOptions {
  readonly settings: RoundSettings
  readonly roster: Roster
  readonly engine: StepEngine
  readonly codecs: ClientCodecs
  readonly inflight: Inflight
  readonly adapters: ClientAdapters
  readonly records: RoundRecords
  readonly rounds: RoundRunner
  /** What clients had of data before the run was interrupted. */
  readonly before: ReadonlyMap<ClientId, Counts>
  readonly desk: ModelDesk
  readonly observer: RunObserver
  readonly onLeave: (client: ClientId, reason: string) => void
  /** What the client sent cannot be used, or the engine failed on it. */
  readonly onUnusable: (client: ClientId, link: ServerLink | null, error: unknown) => void
}

export class ClientMessages {
  /** The last report of each client that makes its steps alone. */
  private readonly reports = new Map<ClientId, MessageOf<'step'>>()
  /** What each client first said that it holds. */
  private readonly introduced = new Map<ClientId, NonNullable<Member['counts']>>()

  constructor(private readonly options: ClientMessagesOptions) {}

  /** @throws UserError what is wrong with the message. */
  receive(client: ClientId, message: ClientMessage): void {
    const { settings, adapters, records, rounds, observer } = this.options
    const { state } = rounds
    switch (message.type) {
      case 'ready':
        return this.ready(client, message)
      case 'model-request':
      case 'file-request':
        return this.askDesk(client, message)
      case 'offer':
        return this.offer(client, message)
      case 'activations':
        return this.activations(client, message)
      case 'step':
        return this.step(client, message)
      case 'adapter': {
        const counts = state.members.get(client)?.counts
        if (!counts || !isAdapterAwaited(settings, state, { ...message, client })) return
        adapters.take(client, message, counts, rounds.updatesSoFar)
        records.reply(client, message)
        this.options.codecs.finished(client, message, records.cutFp32Bytes(client, message))
        return rounds.dispatch({ type: 'adapter', client, round: message.round, attempt: message.attempt })
      }
      case 'evaluation':
        if (!isEvaluationAwaited(state, { ...message, client })) return
        records.evaluation(client, message)
        return rounds.dispatch({ type: 'evaluation', client, round: message.round, attempt: message.attempt })
      case 'error': {
        const { code, what, why } = message.error
        observer.event({ event: 'client-error', client, round: state.round, reason: `${code}: ${why}` })
        return this.options.onLeave(client, `${what}: ${why}`)
      }
      case 'heartbeat':
        return
      case 'hello':
        throw invalid('a second hello')
      default:
        return unreachable(`client message ${JSON.stringify(message)}`)
    }
  }

  private askDesk(client: ClientId, message: MessageOf<'model-request' | 'file-request'>): void {
    const { desk, roster } = this.options
    const link = roster.linkOf(client)
    if (link) desk.ask(client, link, message)
  }

  private ready(client: ClientId, { examples, tokens, eval_examples, kept }: MessageOf<'ready'>): void {
    const { settings, records, rounds } = this.options
    // Its weight in the mean would be nothing, or not a number.
    if (examples === 0 || tokens === 0) throw noTrainingRows(client)
    if (rounds.state.members.get(client)?.counts) return
    this.checkSameData(client, { examples, tokens, eval_examples })
    this.checkKept(client, kept)
    // The round is as long as its longest client, and places in the schedule are whole numbers.
    if (!Number.isSafeInteger(stepsOfClient(settings, examples) * settings.rounds)) throw invalid(`a count of ${examples} training rows`)
    const counts = { examples, tokens, evalExamples: eval_examples }
    if (!this.introduced.has(client)) this.introduced.set(client, counts)
    records.introduce(client, counts)
    rounds.dispatch({ type: 'ready', client, counts })
  }

  /**
   * Who was in the run before it was interrupted has the same rows, or batches would not go on where they were; and so has, under `restart_round`, who comes
   * back, or the round would not be the same.
   */
  private checkSameData(
    client: ClientId,
    { examples, tokens, eval_examples }: Pick<MessageOf<'ready'>, 'examples' | 'tokens' | 'eval_examples'>,
  ): void {
    const { before: saved, settings } = this.options
    const before = saved.get(client) ?? (settings.onClientLoss === 'restart_round' ? this.introduced.get(client) : undefined)
    if (!before || (before.examples === examples && before.tokens === tokens && before.evalExamples === eval_examples)) return
    throw new UserError({
      code: 'DATA_DIFFERS',
      what: `client ${client} cannot go on with the run`,
      why: `it has ${examples} training rows (${tokens} scored tokens) and ${eval_examples} held-out rows, and had ${before.examples} (${before.tokens}) and ${before.evalExamples} before`,
      fix: 'give it the same data as before, or start a new run',
    })
  }

  /** Moments that the client was to keep and has no more: it begins with empty ones, or, where that would change the numbers, not at all. */
  private checkKept(client: ClientId, kept: readonly number[]): void {
    const { settings, adapters, observer, rounds } = this.options
    const round = adapters.keptRound(client)
    if (round === null || kept.includes(round)) return
    const reason = `it has not kept its optimizer state of round ${round}`
    if (settings.onClientLoss === 'restart_round')
      throw new UserError({
        code: 'CLIENT_STATE_MISSING',
        what: `client ${client} cannot go on with the run`,
        why: `${reason}, and federation.on_client_loss is restart_round, which promises the numbers of a run without interruptions`,
        fix: 'start it on the machine and with the state folder that it had before, or go on with federation.on_client_loss=continue',
      })
    adapters.forgetKept(client)
    observer.event({ event: 'state-missing', client, round: rounds.state.round, reason: `${reason}; it begins with an empty one` })
  }

  /** One that is not awaited is late: the client has been or will be told. */
  private offer(client: ClientId, message: MessageOf<'offer'>): void {
    const { settings, inflight, rounds } = this.options
    if (!settings.remoteSteps) throw invalid('an offer of activations, in a run where clients hold the whole model')
    const { state } = rounds
    const place = { ...message, client }
    if (message.purpose === 'train' ? isAwaited(settings, state, place) : isEvaluationAwaited(state, place))
      inflight.offer(client, message, message.tokens)
  }

  private activations(client: ClientId, message: MessageOf<'activations'>): void {
    const { settings, roster, engine, inflight, rounds, records, onUnusable } = this.options
    if (!settings.remoteSteps) throw invalid('activations, in a run where clients hold the whole model')
    const { state } = rounds
    const request = requestKey(message)
    if (roster.answerAgain(client, request)) return
    // What is not awaited is late, a repeat of what is being worked on, or of a step that was dropped: the client has been or will be told.
    if (message.purpose === 'train') {
      if (!isAwaited(settings, state, { ...message, client })) return
      inflight.check(client, message, tokensOf(message))
      if (engine.take(client, message)) {
        records.taken(client, message)
        return rounds.dispatch({ ...message, client })
      }
      const { round, attempt, step, micro } = message
      return roster.send(client, { type: 'resync', round, attempt, step, micro })
    }
    if (!isEvaluationAwaited(state, { ...message, client })) return
    const asked = roster.askedBy(client)
    if (asked === request) return
    // One batch at a time: a queue of them would fill the server's memory.
    if (asked?.startsWith(requestPrefix(message))) throw invalid('a held-out batch before it had the answer to the last one')
    inflight.check(client, message, tokensOf(message))
    roster.begin(client, request)
    const link = roster.linkOf(client)
    const answered = engine.evaluate(client, message)
    records.taken(client, message)
    inflight.computing(client, message)
    answered
      .then(
        (reply) => roster.linkOf(client) === link && roster.answer(client, request, reply),
        (error: unknown) => onUnusable(client, link, error),
      )
      .finally(() => inflight.release(client, message))
  }

  private isNewReport(client: ClientId, report: MessageOf<'step'>): boolean {
    const { rounds } = this.options
    if (!isReportAwaited(rounds.state, { ...report, client }) || !placeAfter(report, this.reports.get(client))) return false
    this.reports.set(client, report)
    return true
  }

  private step(client: ClientId, message: MessageOf<'step'>): void {
    const { settings, engine, records, rounds, observer } = this.options
    const { round, attempt, step } = message
    const { state } = rounds
    if (round !== state.round || attempt !== state.attempt) return
    if (message.outcome === 'updated') {
      const seen = engine.takeSeen({ client, step })
      // Where the server computes the steps, it knows which there were.
      if (seen || (!settings.remoteSteps && this.isNewReport(client, message))) records.clientStep(client, message, seen)
      return
    }
    if (!isStepAwaited(settings, state, { ...message, client })) return
    if (!settings.remoteSteps && !this.isNewReport(client, message)) return
    observer.event({ event: 'step-skipped', client, round, step, reason: 'no scored token' })
    rounds.dispatch({ type: 'skipped', client, round, attempt, step })
  }
}

/** As its tensor says; whether its rows come to as many is checked when they are read. */
function tokensOf({ hidden }: MessageOf<'activations'>): number {
  return hidden.shape[0] ?? 0
}

/** Steps that a client makes alone are taken as it tells them, each once and in order. */
function placeAfter(report: MessageOf<'step'>, last: MessageOf<'step'> | undefined): boolean {
  return !last || report.round !== last.round || report.attempt !== last.attempt || report.step > last.step
}

function noTrainingRows(client: ClientId): UserError {
  return new UserError({
    code: 'NO_TRAINING_ROWS',
    what: `client ${client} cannot take part`,
    why: 'it has no training rows with a scored token',
    fix: 'give it other data, or lower data.eval_fraction',
  })
}
