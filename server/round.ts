/**
 * @file The round machine: a pure function from (state, event) to (state, effects). Time, sockets and engine are effects.
 *
 * gathering -> [evaluating, round 0] -> training -> merging -> evaluating -> training -> ... -> finished | failed
 */
import { UserError } from '../shared/errors.js'
import { compareCodeUnits } from '../shared/compare.js'
import type {
  ClientId,
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
import { beginStop, stopWhenDue } from './round-stop.js'
import { isCurrent, owesAdapter, readyClients, readyCount, stepsOfClient } from './round-queries.js'
import { computed, openSteps, received, roundOverdue, skipped, stepOverdue, stepsOf, takeOut, update, type Steps } from './round-steps.js'

export function initialRounds(): RoundState {
  return { round: 0, attempt: 0, started: false, localSteps: 0, members: new Map(), phase: { kind: 'gathering' }, stopping: null }
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
      return gather(settings, selection, withMember(state, event.client, { present: true, counts: event.counts }))
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
      return state.phase.kind === 'gathering' && state.round === event.round
        ? fail(state, tooFewLeft(settings, state))
        : { state, effects: [] }
    default:
      return state.phase.kind === 'training' && isCurrent(state, event)
        ? train(settings, state, state.phase, event)
        : { state, effects: [] }
  }
}

type TrainingEvent = Extract<RoundEvent, { type: 'activations' | 'computed' | 'skipped' | 'adapter' | 'step-deadline' | 'round-deadline' }>

function train(settings: RoundSettings, state: RoundState, phase: TrainingPhase, event: TrainingEvent): Transition {
  const run = stepsOf(settings, state)
  return closeRound(run, state, afterTrainingEvent(run, phase, event))
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
function closeRound(run: Steps, state: RoundState, start: TrainingPhase): Transition {
  const { settings, effects } = run
  let phase = start
  const count = (is: (participant: Participant) => boolean): number => [...phase.participants.values()].filter(is).length
  const counting = count((p) => p.state !== 'out' && !droppedTooOften(p))
  if (counting < settings.minReplies) return fail({ ...state, phase }, tooFewReplies(settings, state.round, phase), effects)
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

/** Why each client that does not enter the mean does not, in id order. */
function reasonsMissing(phase: TrainingPhase): Map<ClientId, string> {
  const reasons = new Map<ClientId, string>()
  for (const [client, p] of [...phase.participants].sort(([a], [b]) => compareCodeUnits(a, b)))
    if (p.state === 'out') reasons.set(client, p.reason ?? 'lost')
    else if (droppedTooOften(p)) reasons.set(client, `dropped in ${p.dropped} of ${p.steps} steps`)
  return reasons
}

function droppedTooOften({ dropped, steps }: Participant): boolean {
  return dropped > steps / 2
}

function afterMerge(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const due = state.round % settings.evaluateEvery === 0 || state.round === settings.rounds
  if (state.stopping)
    return {
      state: { ...state, phase: { kind: 'finished' } },
      effects: [{ type: 'round-over', ...(due ? { isUnevaluated: true } : {}) }, { type: 'finish' }],
    }
  return due ? evaluate(settings, selection, state) : endRound(settings, selection, state)
}

function evaluate(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const able = readyClients(state).filter((id) => state.members.get(id)!.counts!.evalExamples > 0)
  const clients = selection.evaluate(able, state.round)
  if (!isChoiceOf(able, clients)) return fail(state, badSelection(state, 'evaluate', clients))
  if (clients.length === 0) return endRound(settings, selection, state)
  const effects: RoundEffect[] = [{ type: 'evaluate', clients }]
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
  const next = { ...state, round: state.round + 1, attempt: 0, phase: { kind: 'gathering' as const } }
  const { state: after, effects } = gather(settings, selection, next)
  const waits = after.phase.kind === 'gathering'
  const timer: RoundEffect = { type: 'timer', ms: settings.gatherMs, event: { type: 'gather-deadline', round: next.round } }
  return { state: after, effects: [over, ...effects, ...(waits ? [timer] : [])] }
}

/** Starts the run, or the next round, once enough clients are there. A run needs `minAvailable` to begin, and goes on with fewer. */
function gather(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  if (state.phase.kind !== 'gathering') return { state, effects: [] }
  // Counted first: of a thousand clients each comes here, and putting them in order takes longer.
  if (!state.started && readyCount(state) < settings.minAvailable) return { state, effects: [] }
  const ready = readyClients(state)
  if (!state.started) {
    const localSteps = Math.max(...ready.map((id) => ownSteps(settings, state.members.get(id)!)))
    return evaluate(settings, selection, { ...state, started: true, localSteps })
  }
  if (ready.length < leastClients(settings)) return { state, effects: [] }
  const selected = selection.train(ready, state.round)
  if (!isChoiceOf(ready, selected) || selected.length < settings.minReplies)
    return fail(state, badSelection(state, `train, of which ${settings.minReplies} must reply`, selected))
  const clients = selected.map((client) => ({
    client,
    steps: Math.min(state.localSteps, ownSteps(settings, state.members.get(client)!)),
  }))
  const participants = new Map<ClientId, Participant>(
    clients.map(({ client, steps }) => [
      client,
      { steps, step: 0, received: 0, issued: 0, computed: 0, overdue: false, arrival: 0, dropped: 0, state: 'working', reason: null },
    ]),
  )
  const phase: TrainingPhase = {
    kind: 'training',
    participants,
    step: 0,
    contributors: [],
    stepOverdue: false,
    roundOverdue: false,
    arrivals: 0,
  }
  const run = stepsOf(settings, state)
  run.effects.push({ type: 'start-round', clients })
  if (settings.remoteSteps) openSteps(run, phase)
  if (settings.roundDeadlineMs !== null)
    run.effects.push({
      type: 'timer',
      ms: settings.roundDeadlineMs,
      event: { type: 'round-deadline', round: state.round, attempt: state.attempt },
    })
  return { state: { ...state, phase }, effects: run.effects }
}

/** Whether each is one of those offered, and none is named twice. */
function isChoiceOf(offered: readonly ClientId[], chosen: readonly ClientId[]): boolean {
  return new Set(chosen).size === chosen.length && chosen.every((client) => offered.includes(client))
}

function leastClients(settings: RoundSettings): number {
  return Math.max(settings.minTrain, settings.minReplies)
}

function ownSteps(settings: RoundSettings, { counts }: Member): number {
  return stepsOfClient(settings, counts!.examples)
}

function lose(settings: RoundSettings, selection: Selection, state: RoundState, client: ClientId, reason: string): Transition {
  if (!state.members.get(client)?.present) return { state, effects: [] }
  const next = withMember(state, client, { present: false, counts: null })
  switch (next.phase.kind) {
    case 'training': {
      const run = stepsOf(settings, next)
      return closeRound(run, next, takeOut(run, next.phase, client, reason))
    }
    case 'evaluating':
      return next.phase.waiting.includes(client) ? evaluated(settings, selection, next, client) : { state: next, effects: [] }
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

function tooFewReplies(settings: RoundSettings, round: number, phase: TrainingPhase): UserError {
  const gone = [...reasonsMissing(phase)].map(([client, reason]) => `${client} (${reason})`)
  return new UserError({
    code: 'ROUND_FAILED',
    what: `round ${round} cannot end`,
    why: `it needs ${settings.minReplies} replies, and is without ${gone.join(', ') || 'enough clients'}`,
    fix: "see the clients' logs for why they left, or lower federation.min_replies",
  })
}

function tooFewLeft(settings: RoundSettings, state: RoundState): UserError {
  return new UserError({
    code: 'NOT_ENOUGH_CLIENTS',
    what: `round ${state.round} cannot start`,
    why: `it needs ${leastClients(settings)} clients, and ${readyClients(state).length} are there`,
    fix: 'restart the clients that left, or lower federation.min_train_clients and federation.min_replies',
  })
}

function badSelection({ round }: RoundState, purpose: string, chosen: readonly ClientId[]): UserError {
  return new UserError({
    code: 'BAD_STRATEGY',
    what: `round ${round} cannot start`,
    why: `the strategy selected [${chosen.join(', ')}] to ${purpose}; it must name clients that are ready, each once`,
    fix: 'correct the selection in the strategy that federation.strategy names',
  })
}
