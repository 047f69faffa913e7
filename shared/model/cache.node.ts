/**
 * @file Where cutlayer keeps what it can make again, and what to say when it cannot write there.
 */
import { mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { UserError } from '../errors.js'

/**
 * The cache folder: CUTLAYER_CACHE, else $XDG_CACHE_HOME/cutlayer, else ~/.cache/cutlayer. It need not exist.
 *
 * @throws UserError CACHE_UNWRITABLE if none of the three names a folder.
 * Source: XDG Base Directory Specification 0.8, which has relative paths ignored.
 */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { CUTLAYER_CACHE: own, XDG_CACHE_HOME: shared } = environment
  if (own) return resolve(own)
  if (shared && isAbsolute(shared)) return join(shared, 'cutlayer')
  const home = homedir()
  if (home && isAbsolute(home)) return join(home, '.cache', 'cutlayer')
  throw unwritable('the cache folder', 'this user has no home folder')
}

function unwritable(path: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'CACHE_UNWRITABLE',
      what: `${path} cannot be written`,
      why,
      fix: 'make room or make it writable, or set CUTLAYER_CACHE to a folder with room for the model in float32',
    },
    { cause },
  )
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ENOTDIR: 'a part of its path is a file',
  EEXIST: 'a file is in its place',
  ENOENT: 'a part of its path is missing',
  EFBIG: 'the file system takes no file of that size',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open',
  EIO: 'the disk failed',
}

/** Why a file system did not do what was asked, in words; null for any other error. */
export function failureReason(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && Object.hasOwn(REASONS, code) ? REASONS[code] : null
}

/** A file system's error as a UserError; any other error as it is. */
export function asCacheError(path: string, error: unknown): unknown {
  const reason = error instanceof UserError ? null : failureReason(error)
  return reason === null ? error : unwritable(path, reason, error)
}

/** Makes a folder in the cache. @throws UserError CACHE_UNWRITABLE. */
export async function makeCacheFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
  } catch (error) {
    throw asCacheError(folder, error)
  }
}
