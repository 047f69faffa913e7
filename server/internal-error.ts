/**
 * @file What clients and people are told of an error that is none of theirs.
 */
import { UserError } from '../shared/errors.js'

export function internalError(what: string, error: unknown): UserError {
  return new UserError(
    { code: 'ROUND_FAILED', what, why: error instanceof Error ? error.message : String(error), fix: "see the server's log" },
    { cause: error },
  )
}
