/**
 * @file The local steps inside a round: whose micro-batch is computed when, and when the top moves.
 *
 * joint       every client meets the top as it was before the step; when all are in, one step of the top with their mean
 * sequential  clients meet the top one after another, and it moves after each
 * replicated  each client has a top of its own, so nobody waits for anybody
 */
import { compareCodeUnits } from '../shared/compare.js'
import type { ClientId, Participant, RoundEffect, RoundSettings, RoundState, TrainingPhase } from './round-state.js'

/** A round in the middle of its steps; functions below return the next one and add to `effects`. */
export interface Steps {
  readonly settings: RoundSettings
  readonly round: number
  readonly attempt: number
  readonly effects: RoundEffect[]
}

export function stepsOf(settings: RoundSettings, state: RoundState): Steps {
  return { settings, round: state.round, attempt: state.attempt, effects: [] }
}

/** A micro-batch came in. Repeats of one that waits or is being computed, and more than a step has, change nothing. */
export function received(run: Steps, phase: TrainingPhase, client: ClientId, step: number, micro: number): TrainingPhase {
  const participant = phase.participants.get(client)
  if (!owesMicroBatch(run.settings, participant, step, micro)) return phase
  const arrival = micro === 0 ? phase.arrivals : participant.arrival
  const next = { ...update(phase, client, { received: micro + 1, arrival }), arrivals: phase.arrivals + 1 }
  return mayMeetTop(run, next, client) ? compute(run, next, client) : next
}

/** Whether a micro-batch is the next that its client owes; any other is late, a repeat, or none of its step. */
export function owesMicroBatch(
  { accumulation }: RoundSettings,
  participant: Participant | undefined,
  step: number,
  micro: number,
): participant is Participant {
  return works(participant) && step === participant.step && micro === participant.received && micro < accumulation
}

/** The engine has run the top on a micro-batch. */
export function computed(run: Steps, phase: TrainingPhase, client: ClientId, step: number, micro: number): TrainingPhase {
  const participant = phase.participants.get(client)
  // Its step may have been dropped, or the client lost, while the engine worked.
  if (!works(participant) || step !== participant.step || micro !== participant.computed || micro >= participant.issued) return phase
  run.effects.push({ type: 'reply', client, step, micro })
  if (micro + 1 < run.settings.accumulation) return compute(run, update(phase, client, { computed: micro + 1 }), client)
  const next = advance(phase, client)
  if (run.settings.top === 'joint') return settle(run, { ...next, contributors: [...next.contributors, client] }, client)
  run.effects.push({ type: 'top-step', step, clients: [client] })
  return settle(run, next, client)
}

/** A client had no scored token in its step. It may be ahead of the open one: it waits for nothing. */
export function skipped(run: Steps, phase: TrainingPhase, client: ClientId, step: number): TrainingPhase {
  return owesStep(phase.participants.get(client), step) ? settle(run, advance(phase, client), client) : phase
}

/** Whether the client can still say that it has nothing to score in this step. */
export function owesStep(participant: Participant | undefined, step: number): boolean {
  return works(participant) && step === participant.step && participant.received === 0
}

/** Takes a client out of the round; what its finished steps gave the top stays. */
export function takeOut(run: Steps, phase: TrainingPhase, client: ClientId, reason: string): TrainingPhase {
  const participant = phase.participants.get(client)
  if (participant?.state !== 'working') return phase
  if (participant.received > 0) run.effects.push({ type: 'discard', client, step: participant.step })
  return settle(run, update(phase, client, { state: 'out', reason, received: 0, issued: 0, computed: 0 }), client)
}

/** The deadline of a step passed: of the open one, or of one client's where the top is replicated. */
export function stepOverdue(run: Steps, phase: TrainingPhase, step: number, client: ClientId | null): TrainingPhase {
  if (client === null) return step === phase.step ? settle(run, { ...phase, stepOverdue: true }, null) : phase
  const participant = phase.participants.get(client)
  if (!works(participant) || step !== participant.step) return phase
  return settle(run, update(phase, client, { overdue: true }), null)
}

/**
 * The round's deadline passed. It is that of all its further steps too: a joint or sequential step that waited on for a client would keep
 * all others from ever replying.
 */
export function roundOverdue(run: Steps, phase: TrainingPhase): TrainingPhase {
  const overdue = { ...phase, roundOverdue: true }
  return run.settings.remoteSteps ? settle(run, overdue, null) : overdue
}

/** Sets the first deadlines. */
export function openSteps(run: Steps, phase: TrainingPhase): void {
  if (run.settings.top !== 'replicated') startClock(run, phase.step, null)
  else for (const [client, { step }] of phase.participants) startClock(run, step, client)
}

/** What follows once a client has made, skipped or left a step, or a deadline has passed. */
function settle(run: Steps, phase: TrainingPhase, client: ClientId | null): TrainingPhase {
  return run.settings.top === 'replicated' ? settleAlone(run, phase, client) : settleTogether(run, phase)
}

/**
 * The open step closes when nobody is awaited in it, or when it is overdue and enough are in. Clients that had nothing to score may be
 * several steps ahead, so one step's end may be the next one's too.
 */
function settleTogether(run: Steps, start: TrainingPhase): TrainingPhase {
  let phase = start
  for (;;) {
    const awaited = inOpenStep(phase)
    const isOverdue = phase.stepOverdue || phase.roundOverdue
    if (awaited.length > 0 && (!isOverdue || inTime(phase) < run.settings.minReplies)) return meetTop(run, phase, awaited)
    for (const client of awaited) phase = drop(run, phase, client)
    const isOpen = phase.contributors.length > 0 || [...phase.participants.values()].some((participant) => works(participant))
    if (!isOpen) return phase
    phase = closeStep(run, phase)
  }
}

function closeStep(run: Steps, phase: TrainingPhase): TrainingPhase {
  if (phase.contributors.length > 0)
    run.effects.push({ type: 'top-step', step: phase.step, clients: [...phase.contributors].sort(compareCodeUnits) })
  const open: TrainingPhase = { ...phase, step: phase.step + 1, contributors: [], stepOverdue: false }
  if (inOpenStep(open).length > 0) startClock(run, open.step, null)
  return open
}

/** Hands over what the open step's clients have sent and may be computed now. */
function meetTop(run: Steps, phase: TrainingPhase, awaited: readonly ClientId[]): TrainingPhase {
  if (run.settings.top === 'joint') return awaited.reduce((next, client) => compute(run, next, client), phase)
  const client = turn(run, phase)
  return client === null ? phase : compute(run, phase, client)
}

/** Clients that have the open step behind them, with something to score or nothing. */
function inTime(phase: TrainingPhase): number {
  return [...phase.participants.values()].filter(({ step, steps }) => step > phase.step && steps > phase.step).length
}

/** Replicated: starts the clock of the client's next step, and drops those who are overdue once enough are ahead of them. */
function settleAlone(run: Steps, start: TrainingPhase, client: ClientId | null): TrainingPhase {
  let phase = start
  const participant = client === null ? undefined : phase.participants.get(client)
  if (client !== null && works(participant)) startClock(run, participant.step, client)
  for (const [id, late] of start.participants) {
    const ahead = [...phase.participants.values()].filter(({ step }) => step > late.step).length
    if (!works(late) || !late.overdue || ahead < run.settings.minReplies) continue
    phase = drop(run, phase, id)
    const next = phase.participants.get(id)
    if (works(next)) startClock(run, next.step, id)
  }
  return phase
}

/** Clients whose micro-batches the open step still waits for. */
function inOpenStep(phase: TrainingPhase): ClientId[] {
  return [...phase.participants].filter(([, p]) => works(p) && p.step === phase.step).map(([id]) => id)
}

function works(participant: Participant | undefined): participant is Participant {
  return participant?.state === 'working' && participant.step < participant.steps
}

function mayMeetTop(run: Steps, phase: TrainingPhase, client: ClientId): boolean {
  switch (run.settings.top) {
    case 'joint':
      return phase.participants.get(client)!.step === phase.step
    case 'replicated':
      return true
    case 'sequential':
      return turn(run, phase) === client
  }
}

/** Whose micro-batches the sequential top takes now; null under `order: arrival` while nobody has sent any. */
export function turn(run: Pick<Steps, 'settings'>, phase: TrainingPhase): ClientId | null {
  const of = (id: ClientId): Participant => phase.participants.get(id)!
  const waiting = inOpenStep(phase)
  const begun = waiting.find((id) => of(id).issued > 0)
  if (begun !== undefined) return begun
  if (run.settings.order === 'id') return waiting.sort(compareCodeUnits)[0] ?? null
  return waiting.filter((id) => of(id).received > 0).sort((a, b) => of(a).arrival - of(b).arrival)[0] ?? null
}

/** Hands the client's next micro-batch to the engine, one at a time. */
function compute(run: Steps, phase: TrainingPhase, client: ClientId): TrainingPhase {
  const participant = phase.participants.get(client)!
  if (participant.received === participant.computed || participant.issued > participant.computed) return phase
  run.effects.push({ type: 'compute', client, step: participant.step, micro: participant.issued })
  return update(phase, client, { issued: participant.issued + 1 })
}

function drop(run: Steps, phase: TrainingPhase, client: ClientId): TrainingPhase {
  const { step, steps, dropped, received: came } = phase.participants.get(client)!
  if (came > 0) run.effects.push({ type: 'discard', client, step })
  run.effects.push({
    type: 'drop',
    client,
    step,
    next: step + 1 < steps ? step + 1 : null,
    reason: phase.roundOverdue ? 'round deadline' : 'step deadline',
  })
  return update(advance(phase, client), client, { dropped: dropped + 1 })
}

function startClock(run: Steps, step: number, client: ClientId | null): void {
  const { stepDeadlineMs } = run.settings
  if (stepDeadlineMs !== null)
    run.effects.push({
      type: 'timer',
      ms: stepDeadlineMs,
      event: { type: 'step-deadline', round: run.round, attempt: run.attempt, step, client },
    })
}

function advance(phase: TrainingPhase, client: ClientId): TrainingPhase {
  return update(phase, client, { step: phase.participants.get(client)!.step + 1, received: 0, issued: 0, computed: 0, overdue: false })
}

export function update(phase: TrainingPhase, client: ClientId, change: Partial<Participant>): TrainingPhase {
  const participants = new Map(phase.participants)
  participants.set(client, { ...participants.get(client)!, ...change })
  return { ...phase, participants }
}
