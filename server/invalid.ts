/**
 * @file What makes a client's message unusable, and the error it is refused with.
 */
import { UserError } from '../shared/errors.js'

export function allFinite(values: Float32Array): boolean {
  // No callback: this reads every tensor that comes in.
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false
  return true
}

/** Training has diverged at that client, or it lies. */
export function notFinite(what: string): UserError {
  return invalid(what, 'lower train.learning_rate, or set train.max_grad_norm if it is 0: training has diverged')
}

export function invalid(
  what: string,
  fix = 'make sure that both ends run the same version of cutlayer and read the same run config',
): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'a client sent what the run cannot use',
    why: `it sent ${what}`,
    fix,
  })
}
