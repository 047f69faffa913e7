/**
 * @file The round machine: a pure function from (state, event) to (state, effects). Time, sockets and engine are effects.
 *
 * gathering -> [evaluating, round 0] -> training -> merging -> evaluating -> training -> ... -> finished | failed
 */
import { UserError } from '../shared/errors.js'
import { compareIds } from './order.js'
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
import { computed, openSteps, received, skipped, stepOverdue, stepsOf, takeOut, update, type Steps } from './round-steps.js'

export function initialRounds(): RoundState {
  return { round: 0, attempt: 0, started: false, localSteps: 0, members: new Map(), phase: { kind: 'gathering' } }
}

/** What one event does. Events that no longer matter (late, repeated, from clients that are out) change nothing. */
export function advanceRounds(settings: RoundSettings, selection: Selection, state: RoundState, event: RoundEvent): Transition {
  if (state.phase.kind === 'finished' || state.phase.kind === 'failed') return { state, effects: [] }
  switch (event.type) {
    case 'joined':
      return { state: withMember(state, event.client, { present: true, counts: null }), effects: [] }
    case 'ready':
      return gather(settings, selection, withMember(state, event.client, { present: true, counts: event.counts }))
    case 'lost':
      return lose(settings, selection, state, event.client, event.reason)
    case 'merged':
      return state.phase.kind === 'merging' ? afterMerge(settings, selection, state) : { state, effects: [] }
    case 'evaluation':
      return isCurrent(state, event) ? evaluated(settings, selection, state, event.client) : { state, effects: [] }
    case 'gather-deadline':
      return state.phase.kind === 'gathering' && state.round === event.round
        ? fail(state, tooFewLeft(settings, state))
        : { state, effects: [] }
    default:
      return state.phase.kind === 'training' && isCurrent(state, event)
        ? train(settings, selection, state, state.phase, event)
        : { state, effects: [] }
  }
}

/** Clients that are connected and have their model and data, in id order. */
export function readyClients(state: RoundState): ClientId[] {
  return [...state.members]
    .filter(([, { present, counts }]) => present && counts !== null)
    .map(([id]) => id)
    .sort(compareIds)
}

/** Whether a micro-batch is the next that its client owes; any other is late or a repeat. */
export function isAwaited(
  state: RoundState,
  request: { client: ClientId; round: number; attempt: number; step: number; micro: number },
): boolean {
  const participant =
    state.phase.kind === 'training' && isCurrent(state, request) ? state.phase.participants.get(request.client) : undefined
  return (
    participant?.state === 'working' &&
    participant.step === request.step &&
    participant.received === request.micro &&
    request.step < participant.steps
  )
}

type TrainingEvent = Extract<RoundEvent, { type: 'activations' | 'computed' | 'skipped' | 'adapter' | 'step-deadline' | 'round-deadline' }>

function train(settings: RoundSettings, selection: Selection, state: RoundState, phase: TrainingPhase, event: TrainingEvent): Transition {
  const run = stepsOf(settings, state)
  return closeRound(run, selection, state, afterTrainingEvent(run, phase, event))
}

function afterTrainingEvent(run: Steps, phase: TrainingPhase, event: TrainingEvent): TrainingPhase {
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
      return { ...phase, roundOverdue: true }
    case 'adapter': {
      const participant = phase.participants.get(event.client)
      const through = participant?.state === 'working' && (!run.settings.remoteSteps || participant.step === participant.steps)
      return through ? update(phase, event.client, { state: 'replied' }) : phase
    }
  }
}

/** Ends the round if nobody is awaited, or if it is overdue and enough have replied; fails it if too few are left. */
function closeRound(run: Steps, selection: Selection, state: RoundState, phase: TrainingPhase): Transition {
  const { settings, effects } = run
  const count = (kind: Participant['state']): number => [...phase.participants.values()].filter((p) => p.state === kind).length
  const [replied, working] = [count('replied'), count('working')]
  if (replied + working < settings.minReplies) return fail({ ...state, phase }, tooFewReplies(settings, state.round, phase), effects)
  if (working > 0) {
    if (!phase.roundOverdue || replied < settings.minReplies) return { state: { ...state, phase }, effects }
    const late = [...phase.participants].filter(([, p]) => p.state === 'working').map(([id]) => id)
    const rest = late.reduce((next, id) => takeOut(run, next, id, 'round deadline'), phase)
    return closeRound(run, selection, state, rest)
  }
  const entries = [...phase.participants].sort(([a], [b]) => compareIds(a, b))
  const missing: Missing[] = entries.flatMap(([client, p]) =>
    p.state === 'out'
      ? [{ client, reason: p.reason ?? 'lost' }]
      : droppedTooOften(p)
        ? [{ client, reason: `dropped in ${p.dropped} of ${p.steps} steps` }]
        : [],
  )
  const replies = entries.map(([client]) => client).filter((client) => !missing.some((m) => m.client === client))
  if (replies.length === 0) return fail({ ...state, phase }, tooFewReplies(settings, state.round, phase), effects)
  return { state: { ...state, phase: { kind: 'merging' } }, effects: [...effects, { type: 'merge', replies, missing }] }
}

function droppedTooOften({ dropped, steps }: Participant): boolean {
  return dropped > steps / 2
}

function afterMerge(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const due = state.round % settings.evaluateEvery === 0 || state.round === settings.rounds
  return due ? evaluate(settings, selection, state) : endRound(settings, selection, state)
}

function evaluate(settings: RoundSettings, selection: Selection, state: RoundState): Transition {
  const able = readyClients(state).filter((id) => state.members.get(id)!.counts!.evalExamples > 0)
  const clients = selection.evaluate(able, state.round)
  if (clients.length === 0) return endRound(settings, selection, state)
  return { state: { ...state, phase: { kind: 'evaluating', waiting: clients } }, effects: [{ type: 'evaluate', clients }] }
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
  const ready = readyClients(state)
  if (!state.started) {
    if (ready.length < settings.minAvailable) return { state, effects: [] }
    const localSteps = Math.max(...ready.map((id) => ownSteps(settings, state.members.get(id)!)))
    return evaluate(settings, selection, { ...state, started: true, localSteps })
  }
  if (ready.length < leastClients(settings)) return { state, effects: [] }
  const clients = selection.train(ready, state.round).map((client) => ({
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
    skipped: [],
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

function leastClients(settings: RoundSettings): number {
  return Math.max(settings.minTrain, settings.minReplies)
}

/** ceil(examples / rows of a step) * epochs, or the fixed number. */
function ownSteps({ localSteps, localEpochs, rowsPerStep }: RoundSettings, { counts }: Member): number {
  return localSteps ?? Math.ceil(counts!.examples / rowsPerStep) * localEpochs!
}

function lose(settings: RoundSettings, selection: Selection, state: RoundState, client: ClientId, reason: string): Transition {
  if (!state.members.get(client)?.present) return { state, effects: [] }
  const next = withMember(state, client, { present: false, counts: null })
  switch (next.phase.kind) {
    case 'training': {
      const run = stepsOf(settings, next)
      return closeRound(run, selection, next, takeOut(run, next.phase, client, reason))
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

function isCurrent(state: RoundState, event: { round: number; attempt: number }): boolean {
  return event.round === state.round && event.attempt === state.attempt
}

function fail(state: RoundState, error: UserError, before: readonly RoundEffect[] = []): Transition {
  return { state: { ...state, phase: { kind: 'failed' } }, effects: [...before, { type: 'fail', error }] }
}

function tooFewReplies(settings: RoundSettings, round: number, phase: TrainingPhase): UserError {
  const gone = [...phase.participants].filter(([, p]) => p.state === 'out').map(([id, p]) => `${id} (${p.reason})`)
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
