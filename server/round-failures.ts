/**
 * @file What a run fails with because of its clients, or of the strategy that chooses among them.
 */
import { UserError } from '../shared/errors.js'
import { leastClients } from './round-gather.js'
import { readyClients, reasonsMissing } from './round-queries.js'
import type { ClientId, RoundSettings, RoundState, TrainingPhase } from './round-state.js'

export function tooFewReplies(settings: RoundSettings, round: number, phase: TrainingPhase): UserError {
  const gone = [...reasonsMissing(phase)].map(([client, reason]) => `${client} (${reason})`)
  return new UserError({
    code: 'ROUND_FAILED',
    what: `round ${round} cannot end`,
    why: `it needs ${settings.minReplies} replies, and is without ${gone.join(', ') || 'enough clients'}`,
    fix: "see the clients' logs for why they left, or lower federation.min_replies",
  })
}

export function tooFewLeft(settings: RoundSettings, state: RoundState): UserError {
  return new UserError({
    code: 'NOT_ENOUGH_CLIENTS',
    what: `round ${state.round} cannot start`,
    why: `it needs ${leastClients(settings)} clients, and ${readyClients(state).length} are there`,
    fix: 'restart the clients that left, or lower federation.min_train_clients and federation.min_replies',
  })
}

/** `restart_round`: the run needs these, and has waited for them. */
export function awayTooLong({ gatherMs }: RoundSettings, { round, phase }: RoundState, missing: readonly ClientId[]): UserError {
  const isEvaluation = phase.kind === 'evaluating' || (phase.kind === 'gathering' && phase.purpose === 'evaluate')
  return new UserError({
    code: 'CLIENT_LOST',
    what: isEvaluation ? `round ${round} cannot be evaluated` : `round ${round} cannot start`,
    why: `${missing.join(', ')} did not come back in ${gatherMs / 1000} s, and federation.on_client_loss is restart_round`,
    fix: 'go on from the last checkpoint with --resume and the name of this run, and start its clients again. If they stay away for longer, raise federation.reconnect_s',
  })
}

export function notEnding({ round }: RoundState, restarts: number, reason: string): UserError {
  return new UserError({
    code: 'ROUND_FAILED',
    what: `round ${round} does not come to its end`,
    why: `it was started again ${restarts} times, and again: ${reason}`,
    fix: "see the clients' logs for why they leave or are late. The run goes on from its last checkpoint with --resume and its name",
  })
}

export function badSelection({ round }: RoundState, purpose: string, chosen: readonly ClientId[]): UserError {
  return new UserError({
    code: 'BAD_STRATEGY',
    what: `round ${round} cannot start`,
    why: `the strategy selected [${chosen.join(', ')}] to ${purpose}; it must name clients that are ready, each once`,
    fix: 'correct the selection in the strategy that federation.strategy names',
  })
}
