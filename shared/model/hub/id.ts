/**
 * @file Names of models on the hub: which text is one, and which is a folder's path.
 *
 * Source: huggingface_hub, `validate_repo_id`, whose rules these are.
 */
import { UserError } from '../../errors.js'

const MAX_LETTERS = 96
const PART = /^[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?$/
/** What only a path of this machine has: it is never taken for an id. */
const PATH = /^[./~]|^[A-Za-z]:|\\|\/$|\/.*\//

/** Whether a name that is no folder's can only have been meant as a path. */
export function isPath(name: string): boolean {
  return PATH.test(name)
}

/** Why `name` is no hub id (`org/name`, or the bare `name` of an old model); null: it is one. */
export function hubIdProblem(name: string): string | null {
  const parts = name.split('/')
  if (parts.length > 2) return 'an id has at most one slash'
  if (name.length > MAX_LETTERS) return `an id has at most ${MAX_LETTERS} letters`
  const bad = parts.find((part) => !PART.test(part))
  if (bad !== undefined)
    return `${JSON.stringify(bad)} is not made of letters, digits, ".", "-" and "_" with a letter or digit at both ends`
  if (name.includes('--') || name.includes('..')) return '"--" and ".." are not allowed in ids'
  return name.endsWith('.git') ? 'an id does not end in .git' : null
}

/** A branch, tag or commit, as git allows it and as a file's path may hold it. */
export const REVISION = /^(?!.*(?:\.\.|\/\/|\.lock$|\/\.))[A-Za-z0-9][\w./+-]{0,199}(?<![./])$/

/** @throws UserError CONFIG_VALUE */
export function checkRevision(revision: string): string {
  if (REVISION.test(revision)) return revision
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: 'the revision cannot be used',
    why: `${JSON.stringify(revision)} is not the name of a branch or tag, nor a commit`,
    fix: 'give a branch such as main, a tag, or the 40 digits of a commit',
  })
}

/** Whether a revision is a commit, which never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}
