/**
 * @file Questions about the round machine's state: what the server may believe of a message, and what it waits for.
 */
import type { Activity } from './observer.js'
import { unreachable } from '../shared/errors.js'
import { compareCodeUnits } from '../shared/compare.js'
import type {
  ClientId,
  EvaluatingPhase,
  GatheringPhase,
  Member,
  Participant,
  RoundSettings,
  RoundState,
  TrainingPhase,
} from './round-state.js'
import { owesMicroBatch, owesStep, turn } from './round-steps.js'

interface InRound {
  readonly client: ClientId
  readonly round: number
  readonly attempt: number
}

/** Clients that are connected and have their model and data, in id order. */
export function readyClients(state: RoundState): ClientId[] {
  return [...state.members]
    .filter(([, member]) => isReady(member))
    .map(([id]) => id)
    .sort(compareCodeUnits)
}

/** How many those are. */
export function readyCount({ members }: RoundState): number {
  let count = 0
  for (const member of members.values()) if (isReady(member)) count++
  return count
}

const isReady = ({ present, counts }: Member): boolean => present && counts !== null

/** Who is waited for by name and is not ready: of the attempt before, of all that are awaited, or of those who evaluate. */
export function missingClients(state: RoundState, phase: GatheringPhase | EvaluatingPhase): ClientId[] {
  const wanted = phase.kind === 'evaluating' ? phase.waiting : (phase.selected ?? state.awaited)
  if (wanted.length === 0) return []
  const ready = new Set(readyClients(state))
  return wanted.filter((client) => !ready.has(client))
}

/** Whether something names the round that is under way. */
export function isCurrent(state: RoundState, event: { readonly round: number; readonly attempt: number }): boolean {
  return event.round === state.round && event.attempt === state.attempt
}

/** Whether a micro-batch is the next that its client owes; any other is late or a repeat. */
export function isAwaited(settings: RoundSettings, state: RoundState, request: InRound & { step: number; micro: number }): boolean {
  return settings.remoteSteps && owesMicroBatch(settings, participantOf(state, request), request.step, request.micro)
}

/** Whether the client may still say that it skips this step. */
export function isStepAwaited(settings: RoundSettings, state: RoundState, report: InRound & { step: number }): boolean {
  const participant = participantOf(state, report)
  return settings.remoteSteps ? owesStep(participant, report.step) : isReportAwaited(state, report)
}

/** Whether the client, which makes its steps alone, may report on this one. */
export function isReportAwaited(state: RoundState, report: InRound & { step: number }): boolean {
  const participant = participantOf(state, report)
  return participant?.state === 'working' && report.step < participant.steps
}

/** Whether the client has made its steps and owes its adapter. */
export function isAdapterAwaited(settings: RoundSettings, state: RoundState, update: InRound): boolean {
  return owesAdapter(settings, participantOf(state, update))
}

/** Whether the client was asked to evaluate and has not answered. */
export function isEvaluationAwaited(state: RoundState, answer: InRound): boolean {
  return state.phase.kind === 'evaluating' && isCurrent(state, answer) && state.phase.waiting.includes(answer.client)
}

/**
 * How soon a client's next micro-batch meets the top: as it comes; if it is the first to come (sequential, in order of arrival); or only after others that
 * are awaited.
 */
export type Turn = 'now' | 'open' | 'later'

/** The turn of each client, as things are. */
export function turnsOf(settings: RoundSettings, { phase }: RoundState): (client: ClientId) => Turn {
  if (phase.kind !== 'training' || settings.top === 'replicated') return () => 'now'
  const isInOpenStep = (client: ClientId): boolean => phase.participants.get(client)?.step === phase.step
  if (settings.top === 'joint') return (client) => (isInOpenStep(client) ? 'now' : 'later')
  const whose = turn({ settings }, phase)
  return (client) => (client === whose ? 'now' : whose === null && isInOpenStep(client) ? 'open' : 'later')
}

/** Local steps that a client with so many training rows makes in a round: ceil(rows / rows of a step) * epochs, or the fixed number. */
export function stepsOfClient({ localSteps, localEpochs, rowsPerStep }: RoundSettings, examples: number): number {
  return localSteps ?? Math.ceil(examples / rowsPerStep) * localEpochs!
}

/** What the run waits for; null when it is over. */
export function activityOf(settings: RoundSettings, state: RoundState): Activity | null {
  const { phase, members, round } = state
  const doing = (what: Activity['doing'], clients: readonly ClientId[] = []): Activity => ({
    doing: what,
    round,
    clients: [...clients].sort(compareCodeUnits),
  })
  switch (phase.kind) {
    case 'gathering': {
      const away = missingClients(state, phase).filter((client) => !members.get(client)?.present)
      if (away.length > 0) return doing('awaiting', away)
      return doing(
        'gathering',
        [...members].filter(([, { present, counts }]) => present && counts === null).map(([id]) => id),
      )
    }
    case 'training': {
      const working = [...phase.participants].filter(([, { state }]) => state === 'working')
      const owing = working.filter(([, participant]) => owesAdapter(settings, participant)).map(([id]) => id)
      return settings.remoteSteps && owing.length === working.length ? doing('collecting', owing) : doing('training')
    }
    case 'merging':
      return doing('merging')
    case 'evaluating':
      return doing('evaluating', phase.waiting)
    case 'finished':
    case 'failed':
      return null
    default:
      return unreachable(`phase ${JSON.stringify(phase)}`)
  }
}

/** loading: it has joined, and opens its model and rows; waiting: for others, or for a round in which it is selected; gone: it may come back. */
export const CLIENT_STATES = ['loading', 'waiting', 'training', 'evaluating', 'gone'] as const
export type ClientState = (typeof CLIENT_STATES)[number]

/** How many of those who ever joined are in each state. */
export function clientStates({ members, phase }: RoundState): Record<ClientState, number> {
  const counts = { loading: 0, waiting: 0, training: 0, evaluating: 0, gone: 0 }
  for (const [client, { present, counts: facts }] of members) {
    if (!present) counts.gone++
    else if (facts === null) counts.loading++
    else if (phase.kind === 'training' && phase.participants.get(client)?.state === 'working') counts.training++
    else if (phase.kind === 'evaluating' && phase.waiting.includes(client)) counts.evaluating++
    else counts.waiting++
  }
  return counts
}

export function owesAdapter({ remoteSteps }: RoundSettings, participant: Participant | undefined): boolean {
  return participant?.state === 'working' && (!remoteSteps || participant.step >= participant.steps)
}

/** Why each client that does not enter the mean does not, in id order. */
export function reasonsMissing(phase: TrainingPhase): Map<ClientId, string> {
  const reasons = new Map<ClientId, string>()
  for (const [client, p] of [...phase.participants].sort(([a], [b]) => compareCodeUnits(a, b)))
    if (p.state === 'out') reasons.set(client, p.reason ?? 'lost')
    else if (droppedTooOften(p)) reasons.set(client, `dropped in ${p.dropped} of ${p.steps} steps`)
  return reasons
}

/** Whether a client has missed so many of its steps that its adapter does not count. */
export function droppedTooOften({ dropped, steps }: Participant): boolean {
  return dropped > steps / 2
}

function participantOf(state: RoundState, place: InRound): Participant | undefined {
  return state.phase.kind === 'training' && isCurrent(state, place) ? state.phase.participants.get(place.client) : undefined
}
