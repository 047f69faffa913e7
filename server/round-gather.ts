/**
 * @file The start of a round: who is still waited for, how long, and what its clients are to make.
 */
import type { ClientId, Participant, RoundSettings, RoundState, TrainingPhase, Transition } from './round-state.js'
import { openSteps, stepsOf } from './round-steps.js'

/** A client that has made nothing of its round yet. */
export const FRESH: Omit<Participant, 'steps'> = {
  step: 0,
  received: 0,
  issued: 0,
  computed: 0,
  overdue: false,
  arrival: 0,
  dropped: 0,
  state: 'working',
  reason: null,
}

/** From now on clients that are away have `reconnect_s`, whoever was waited for before. */
export function startWait(settings: RoundSettings, state: RoundState): Transition {
  const { phase } = state
  const wait = state.waits + 1
  return {
    state: { ...state, waits: wait, phase: phase.kind === 'gathering' ? { ...phase, deadline: 'set' } : phase },
    effects: [{ type: 'timer', ms: settings.gatherMs, event: { type: 'gather-deadline', wait } }],
  }
}

/** @param clients with the local steps that each is to make */
export function startRound(
  settings: RoundSettings,
  state: RoundState,
  clients: readonly { readonly client: ClientId; readonly steps: number }[],
): Transition {
  const participants = new Map(clients.map(({ client, steps }): [ClientId, Participant] => [client, { ...FRESH, steps }]))
  const phase: TrainingPhase = {
    ...{ kind: 'training', participants, step: 0, contributors: [] },
    ...{ stepOverdue: false, roundOverdue: false, arrivals: 0 },
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
export function isChoiceOf(offered: readonly ClientId[], chosen: readonly ClientId[]): boolean {
  return new Set(chosen).size === chosen.length && chosen.every((client) => offered.includes(client))
}

/** Clients without whom no round starts. */
export function leastClients({ minTrain, minReplies }: RoundSettings): number {
  return Math.max(minTrain, minReplies)
}
