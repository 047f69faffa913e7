/**
 * @file The round machine: a pure function from (state, event) to (state, effects). Time, sockets and engine are effects.
 *
 * gathering -> [evaluating, round 0] -> training -> merging -> evaluating -> training -> ... -> finished | failed
 */
import { compareCodeUnits } from '../shared/compare.js'
import { awayTooLong, badSelection, notEnding, tooFewLeft, tooFewReplies } from './round-failures.js'
import { isChoiceOf, leastClients, startRound, startWait } from './round-gather.js'
import {
  droppedTooOften,
  isCurrent,
  missingClients,
  owesAdapter,
  readyClients,
  readyCount,
  reasonsMissing,
  stepsOfClient,
} from './round-queries.js'
import type {
  ClientId,
  GatheringPhase,
  Member,
  Missing,
  Participant,
  RoundEffect,
  RoundEvent,
  RoundSettings,
  RoundState,
  Selection,
  TrainingPhase,
  Transition,
} from './round-state.js'
import { computed, received, roundOverdue, skipped, stepOverdue, stepsOf, takeOut, update, type Steps } from './round-steps.js'
import { beginStop, stopWhenDue } from './round-stop.js'
import type { UserError } from '../shared/errors.js'

/** A round that was started again so often would be for ever. */
const MOST_RESTARTS = 20

const GATHERING: GatheringPhase = { kind: 'gathering', purpose: 'train', selected: null, deadline: 'none' }

export function initialRounds(): RoundState {
  const nothingYet = {
    round: 0,
    attempt: 0,
    started: false,
    localSteps: 0,
    members: new Map(),
    awaited: [],
    restarts: 0,
    waits: 0,
    firstAttempts: new Map(),
  }
  return { ...nothingYet, phase: GATHERING, stopping: null }
}

/** Where a run goes on that was interrupted. */
export interface Resumed {
  /** The round to make next. */
  readonly round: number
  /** Higher than any attempt at that round before. */
  readonly attempt: number
  readonly localSteps: number
  /** The clients that were there. */
  readonly awaited: readonly ClientId[]
}

/**
 * A run before that round. It starts when all are ready who were there, however long that takes; with `on_client_loss: continue`, once
 * `min_available_clients` are, it waits for the others as long as before any round.
 */
export function resumedRounds({ round, attempt, localSteps, awaited }: Resumed): RoundState {
  const members = new Map(awaited.map((client) => [client, { present: false, counts: null }]))
  return { ...initialRounds(), round, attempt, localSteps, members, awaited, started: true }
}

/** What one event does. Events that no longer matter (late, repeated, from clients that are out) change nothing. */
export function advanceRounds(settings: RoundSettings, selection: Selection, state: RoundState, event: RoundEvent): Transition {
  if (state.phase.kind === 'finished' || state.phase.kind === 'failed') return { state, effects: [] }
  if (event.type === 'stop') return beginStop(settings, state)
  const transition = advance(settings, selection, state, event)
  return state.stopping ? stopWhenDue(settings, transition) : transition
}

function advance(
  settings: RoundSettings,
  selection: Selection,
  state: RoundState,
  event: Exclude<RoundEvent, { type: 'stop' }>,
): Transition {
  switch (event.type) {
    case 'joined': {
      // A new process under an id that is still present takes its place, and has none of what the old one had.
      const { state: without, effects } = lose(settings, selection, state, event.client, 'started again')
      return { state: withMember(without, event.client, { present: true, counts: null }), effects }
    }
    case 'ready': {
      const member = state.members.get(event.client)
      // What a client says of itself stays as it first said it: it weights its replies.
      if (!member?.present || member.counts) return { state, effects: [] }
      return isReady(settings, selection, withMember(state, event.client, { present: true, counts: event.counts }), event.client)
    }
    case 'lost':
      return lose(settings, selection, state, event.client, event.reason)
    case 'merged':
      return state.phase.kind === 'merging' ? afterMerge(settings, selection, state) : { state, effects: [] }
    case 'evaluation':
      return isCurrent(state, event) ? evaluated(settings, selection, state, event.client) : { state, effects: [] }
    case 'evaluation-deadline':
      return state.phase.kind === 'evaluating' && isCurrent(state, event)
        ? evaluationOverdue(settings, selection, state, state.phase.waiting)
        : { state, effects: [] }
    case 'gather-deadline':
      return state.waits === event.wait ? waitIsOver(settings, selection, state) : { state, effects: [] }
    default:
      return state.phase.kind === 'training' && isCurrent(state, event)
        ? train(settings, selection, state, state.phase, event)
        : { state, effects: [] }
  }
}

type TrainingEvent = Extract<RoundEvent, { type: 'activations' | 'computed' | 'skipped' | 'adapter' | 'step-deadline' | 'round-deadline' }>

function train(settings: RoundSettings, selection: Selection, state: RoundState, phase: TrainingPhase, event: TrainingEvent): Transition {
  const run = stepsOf(settings, state)
  return closeRound(run, selection, state, afterTrainingEvent(run, phase, event))
}

function afterTrainingEvent(run: Steps, phase: TrainingPhase, event: TrainingEvent): TrainingPhase {
  const isOfSteps = event.type !== 'adapter' && event.type !== 'round-deadline'
  if (isOfSteps && !run.settings.remoteSteps) return phase // clients make their steps alone
  switch (event.type) {
    case 'activations':
      return received(run, phase, event.client, event.step, event.micro)
    case 'computed':
      return computed(run, phase, event.client, event.step, event.micro)
    case 'skipped':
      return skipped(run, phase, event.client, event.step)
    case 'step-deadline':
      return stepOverdue(run, phase, event.step, event.client)
    case 'round-deadline':
      return roundOverdue(run, phase)
    case 'adapter':
      return owesAdapter(run.settings, phase.participants.get(event.client)) ? update(phase, event.client, { state: 'replied' }) : phase
  }
}

/** Ends the round if nobody is awaited, or if it is overdue and enough have replied; fails it if too few can still do so. */
function closeRound(run: Steps, selection: Selection, state: RoundState, start: TrainingPhase): Transition {
  const { settings, effects } = run
  let phase = start
  const count = (is: (participant: Participant) => boolean): number => [...phase.participants.values()].filter(is).length
  const counting = count((p) => p.state !== 'out' && !droppedTooOften(p))
  if (counting < settings.minReplies) {
    const error = tooFewReplies(settings, state.round, phase)
    if (settings.onClientLoss === 'continue') return fail({ ...state, phase }, error, effects)
    return restart(settings, selection, state, phase, null, error.why)
  }
  const late = [...phase.participants].filter(([, p]) => p.state === 'working').map(([id]) => id)
  if (late.length > 0) {
    const replies = count((p) => p.state === 'replied' && !droppedTooOften(p))
    if (!phase.roundOverdue || replies < settings.minReplies) return { state: { ...state, phase }, effects }
    for (const id of late) phase = takeOut(run, phase, id, 'round deadline')
  }
  const reasons = reasonsMissing(phase)
  const missing: Missing[] = [...reasons].map(([client, reason]) => ({ client, reason }))
  const replies = [...phase.participants.keys()].filter((client) => !reasons.has(client)).sort(compareCodeUnits)
  return { state: { ...state, phase: { kind: 'merging' } }, effects: [...effects, { type: 'merge', replies, missing }] }
}

/**
 * A client was lost, or too few can still reply: the round starts again from what it began with, with the same clients.
 * What the event would have brought besides is of the attempt that is over.
 */
function restart(
  settings: RoundSettings,
  selection: Selection,
  state: RoundState,
  { participants }: TrainingPhase,
  client: ClientId | null,
  reason: string,
): Transition {
  if (state.restarts === MOST_RESTARTS) return fail(state, notEnding(state, MOST_RESTARTS, reason))
  const attempt = state.attempt + 1
  const phase: GatheringPhase = { ...GATHERING, selected: [...participants.keys()] }
  const { state: after, effects } = gatherInTime(settings, selection, { ...state, attempt, restarts: state.restarts + 1, phase })
  return { state: after, effects: [{ type: 'restart-round', attempt, client, reason }, ...effects] }
}

function afterMerge(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const due = state.round % settings.evaluateEvery === 0 || state.round === settings.rounds
  if (state.stopping)
    return {
      state: { ...state, phase: { kind: 'finished' } },
      effects: [{ type: 'round-over', ...(due ? { isUnevaluated: true } : {}) }, { type: 'finish' }],
    }
  if (!due) return endRound(settings, selection, state)
  return gatherInTime(settings, selection, { ...state, phase: { ...GATHERING, purpose: 'evaluate' } })
}

function evaluate(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const able = readyClients(state).filter((id) => state.members.get(id)!.counts!.evalExamples > 0)
  const clients = selection.evaluate(able, state.round)
  if (!isChoiceOf(able, clients)) return fail(state, badSelection(state, 'evaluate', clients))
  if (clients.length === 0) return endRound(settings, selection, state)
  const effects: RoundEffect[] = [{ type: 'evaluate', clients, again: false }]
  if (settings.roundDeadlineMs !== null)
    effects.push({
      type: 'timer',
      ms: settings.roundDeadlineMs,
      event: { type: 'evaluation-deadline', round: state.round, attempt: state.attempt },
    })
  return { state: { ...state, phase: { kind: 'evaluating', waiting: clients } }, effects }
}

/** Ends an evaluation without those who are late. It changes no adapter, so it need not wait for `min_replies`. */
function evaluationOverdue(settings: RoundSettings, selection: Selection, state: RoundState, late: readonly ClientId[]): Transition {
  const skips = late.map((client): RoundEffect => ({ type: 'skip-evaluation', client, reason: 'evaluation deadline' }))
  const { state: after, effects } = endRound(settings, selection, { ...state, phase: { kind: 'evaluating', waiting: [] } })
  return { state: after, effects: [...skips, ...effects] }
}

function evaluated(settings: RoundSettings, selection: Selection, state: RoundState, client: ClientId): Transition {
  if (state.phase.kind !== 'evaluating') return { state, effects: [] }
  const waiting = state.phase.waiting.filter((id) => id !== client)
  const next = { ...state, phase: { kind: 'evaluating' as const, waiting } }
  return waiting.length > 0 ? { state: next, effects: [] } : endRound(settings, selection, next)
}

function endRound(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const over: RoundEffect = { type: 'round-over' }
  if (state.round === settings.rounds) return { state: { ...state, phase: { kind: 'finished' } }, effects: [over, { type: 'finish' }] }
  const round = state.round + 1
  const next = { ...state, round, attempt: state.firstAttempts.get(round) ?? 0, restarts: 0, phase: GATHERING }
  const { state: after, effects } = gatherInTime(settings, selection, next)
  return { state: after, effects: [over, ...effects] }
}

/** A client has its model and rows: whoever waited for it goes on. */
function isReady(settings: RoundSettings, selection: Selection, before: RoundState, client: ClientId): Transition {
  const joins = settings.onClientLoss === 'restart_round' && before.started && !before.awaited.includes(client)
  const state = joins ? { ...before, awaited: [...before.awaited, client] } : before
  // Its sums are still awaited, so it was lost in the middle of this evaluation.
  const evaluates = state.phase.kind === 'evaluating' && state.phase.waiting.includes(client)
  return evaluates ? { state, effects: [{ type: 'evaluate', clients: [client], again: true }] } : gather(settings, selection, state)
}

/** As `gather`; if clients have to be waited for, only for so long. */
function gatherInTime(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const { state: after, effects } = gather(settings, selection, state)
  if (after.phase.kind !== 'gathering' || after.phase.deadline !== 'none') return { state: after, effects }
  const { state: waiting, effects: timer } = startWait(settings, after)
  return { state: waiting, effects: [...effects, ...timer] }
}

/** Starts the run, the next round or its evaluation once those are there who are waited for. A run needs `minAvailable` to begin, and goes on with fewer. */
function gather(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const { phase } = state
  if (phase.kind !== 'gathering') return { state, effects: [] }
  // Counted first: of a thousand clients each comes here, and putting them in order takes longer.
  if (!state.started && readyCount(state) < settings.minAvailable) return { state, effects: [] }
  if (phase.deadline !== 'passed' && missingClients(state, phase).length > 0) {
    const isEnough = settings.onClientLoss === 'continue' && readyCount(state) >= Math.min(settings.minAvailable, state.awaited.length)
    return isEnough && phase.deadline === 'none' ? startWait(settings, state) : { state, effects: [] }
  }
  if (!state.started) {
    const ready = readyClients(state)
    const localSteps = Math.max(...ready.map((id) => ownSteps(settings, state.members.get(id)!)))
    const awaited = settings.onClientLoss === 'restart_round' ? ready : []
    return evaluate(settings, selection, { ...state, started: true, localSteps, awaited })
  }
  if (phase.purpose === 'evaluate') return evaluate(settings, selection, state)
  if (phase.selected) return begin(settings, state, phase.selected)
  const ready = readyClients(state)
  if (ready.length < leastClients(settings)) return { state, effects: [] }
  const selected = selection.train(ready, state.round)
  if (!isChoiceOf(ready, selected) || selected.length < settings.minReplies)
    return fail(state, badSelection(state, `train, of which ${settings.minReplies} must reply`, selected))
  return begin(settings, state, selected)
}

function begin(settings: RoundSettings, state: RoundState, selected: readonly ClientId[]): Transition {
  const clients = selected.map((client) => ({
    client,
    steps: Math.min(state.localSteps, ownSteps(settings, state.members.get(client)!)),
  }))
  // Whom a resumed run waited for it has waited for.
  const awaited = settings.onClientLoss === 'continue' ? [] : state.awaited
  return startRound(settings, { ...state, awaited }, clients)
}

/** Those who are away have had their time. */
function waitIsOver(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const { phase } = state
  if (phase.kind !== 'gathering' && phase.kind !== 'evaluating') return { state, effects: [] }
  const missing = missingClients(state, phase)
  if (settings.onClientLoss === 'restart_round' && missing.length > 0) return fail(state, awayTooLong(settings, state, missing))
  if (phase.kind !== 'gathering') return { state, effects: [] }
  const after = gather(settings, selection, { ...state, phase: { ...phase, deadline: 'passed' } })
  return after.state.phase.kind === 'gathering' ? fail(state, tooFewLeft(settings, state)) : after
}

function ownSteps(settings: RoundSettings, { counts }: Member): number {
  return stepsOfClient(settings, counts!.examples)
}

function lose(settings: RoundSettings, selection: Selection, state: RoundState, client: ClientId, reason: string): Transition {
  if (!state.members.get(client)?.present) return { state, effects: [] }
  const next = withMember(state, client, { present: false, counts: null })
  const restarts = settings.onClientLoss === 'restart_round'
  switch (next.phase.kind) {
    case 'training': {
      // Who has replied is not needed any more.
      if (restarts && next.phase.participants.get(client)?.state === 'working')
        return restart(settings, selection, next, next.phase, client, reason)
      const run = stepsOf(settings, next)
      return closeRound(run, selection, next, takeOut(run, next.phase, client, reason))
    }
    case 'evaluating':
      if (!next.phase.waiting.includes(client)) return { state: next, effects: [] }
      return restarts ? startWait(settings, next) : evaluated(settings, selection, next, client)
    default:
      return { state: next, effects: [] }
  }
}

function withMember(state: RoundState, client: ClientId, member: Member): RoundState {
  return { ...state, members: new Map(state.members).set(client, member) }
}

function fail(state: RoundState, error: UserError, before: readonly RoundEffect[] = []): Transition {
  return { state: { ...state, phase: { kind: 'failed' } }, effects: [...before, { type: 'fail', error }] }
}
