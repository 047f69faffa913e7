/**
 * @file Ends a run before its time, in good order: after the step under way, so that every client in it has its gradient and the top has moved.
 *
 * A round whose steps are all made is merged, and its evaluation left out. Clients that make their steps alone end theirs by themselves.
 */
import { owesAdapter } from './round-queries.js'
import type { RoundEffect, RoundSettings, RoundState, TrainingPhase, Transition } from './round-state.js'

/** The run is asked to stop. Asking again changes nothing. */
export function beginStop(settings: RoundSettings, state: RoundState): Transition {
  if (state.stopping) return { state, effects: [] }
  const during = state.phase.kind === 'training' ? state.phase : null
  return stopWhenDue(settings, { state: { ...state, stopping: { during } }, effects: [] })
}

/** What an event brought in a run that is asked to stop, and its end if that is due now. */
export function stopWhenDue(settings: RoundSettings, { state, effects }: Transition): Transition {
  const { phase, stopping, round } = state
  const end = (last: readonly RoundEffect[]): Transition => ({
    state: { ...state, phase: { kind: 'finished' } },
    effects: [...effects.filter(isOfPast), ...last, { type: 'finish' }],
  })
  switch (phase.kind) {
    case 'gathering':
      // A round that waits for its evaluation is merged.
      return end(phase.purpose === 'evaluate' && round > 0 ? [{ type: 'round-over', isUnevaluated: true }] : [])
    case 'training':
      return isStepMade(settings, phase, stopping?.during ?? null) ? end([]) : { state, effects }
    case 'evaluating':
      // The evaluation before training is a line of its own, which there is none of now.
      return end(round === 0 ? [] : [{ type: 'round-over', isUnevaluated: true }])
    case 'failed':
      // Too few are left for what it was asked to leave anyway.
      return {
        state: { ...state, phase: { kind: 'finished' } },
        effects: [...effects.filter(({ type }) => type !== 'fail'), { type: 'finish' }],
      }
    case 'merging':
    case 'finished':
      return { state, effects }
  }
}

/** Whether the step that was under way is made, and others are left to make. */
function isStepMade(settings: RoundSettings, now: TrainingPhase, then: TrainingPhase | null): boolean {
  if (!settings.remoteSteps || then === null) return true
  const working = [...now.participants].filter(([, { state }]) => state === 'working')
  if (working.every(([, participant]) => owesAdapter(settings, participant))) return false
  if (settings.top !== 'replicated') return now.step > then.step
  return working.every(([id, participant]) => participant.step > then.participants.get(id)!.step || owesAdapter(settings, participant))
}

/** Not what begins further work. */
function isOfPast({ type }: RoundEffect): boolean {
  return type !== 'compute' && type !== 'timer'
}
