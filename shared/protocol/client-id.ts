/**
 * @file What clients are called.
 */
import { z } from 'zod'
import { UserError } from '../errors.js'

/** Names files and folders, so it holds nothing that their names could not on any system: on Windows no final dot, and no name of a device. */
export const ClientId = z
  .string()
  .regex(
    /^(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))(?=.{1,64}$)[a-z0-9](?:[a-z0-9._-]*[a-z0-9_-])?$/i,
    'a client id has 1 to 64 letters, digits, dots, dashes or underscores, starts with a letter or digit, ends with no dot, and is no device of Windows such as con or nul',
  )

/** What somebody typed. @throws UserError BAD_ARGUMENT if no client can be called so. */
export function checkedClientId(id: string): string {
  const checked = ClientId.safeParse(id)
  if (checked.success) return checked.data
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `${JSON.stringify(id)} cannot name a client`,
    why: checked.error.issues[0].message,
    fix: 'use a name such as client-0',
  })
}
