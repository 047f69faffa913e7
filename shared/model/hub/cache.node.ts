/**
 * @file The Hugging Face cache, as Python's huggingface_hub lays it out: whichever of the two fetched a file, both find it.
 *
 * `models--<org>--<name>/` holds `blobs/<etag>` (the bytes), `snapshots/<commit>/<file>` (relative links to blobs), `refs/<revision>` (the commit
 * that it was last), and `.no_exist/<commit>/<file>` for files that a commit is known not to have.
 * Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
import { access, copyFile, lstat, mkdir, open, readFile, rename, rm, statfs, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { UserError } from '../../errors.js'
import { temporaryPath, writeAtomically } from '../atomic-file.node.js'
import { failureReason } from '../cache.node.js'
import { isCommit } from './id.js'

/** Room that is left to others on a disk. */
const SPARE_BYTES = 16 * 2 ** 20

export interface HubCache {
  /** Of this model's snapshots. Absolute. */
  folderOf(commit: string): string
  /** Of the bytes with this etag. */
  blob(etag: string): string
  /** Of the lock that whoever fetches those bytes holds. */
  lock(etag: string): string
  /** The commit that a revision was when it was last looked up; null if it never was. */
  readRef(revision: string): Promise<string | null>
  writeRef(revision: string, commit: string): Promise<void>
  /** The file's path if it is there, `absent` if the commit is known not to have it, else null. */
  find(commit: string, file: string): Promise<string | 'absent' | null>
  /** Notes that the commit has no such file. */
  noteAbsent(commit: string, file: string): Promise<void>
  /** Puts a blob into a snapshot. @returns its path there */
  place(commit: string, file: string, etag: string): Promise<string>
}

/** @param root of all models */
export function hubCache(root: string, id: string): HubCache {
  const name = `models--${id.replaceAll('/', '--')}`
  const folder = join(root, name)
  const folderOf = (commit: string): string => join(folder, 'snapshots', commit)
  const ref = (revision: string): string => join(folder, 'refs', ...revision.split('/'))
  const noted = (commit: string, file: string): string => join(folder, '.no_exist', commit, file)
  const blob = (etag: string): string => join(folder, 'blobs', etag)
  return {
    folderOf,
    blob,
    lock: (etag) => join(root, '.locks', name, `${etag}.cutlayer`),
    async readRef(revision) {
      const commit = (await readFile(ref(revision), 'utf8').catch(() => '')).trim()
      return isCommit(commit) ? commit : null
    },
    async writeRef(revision, commit) {
      if (revision === commit || (await this.readRef(revision)) === commit) return
      await mkdir(dirname(ref(revision)), { recursive: true })
      await writeAtomically(ref(revision), (handle) => handle.writeFile(commit))
    },
    async find(commit, file) {
      const path = join(folderOf(commit), file)
      if (await isThere(path)) return path
      return (await isThere(noted(commit, file))) ? 'absent' : null
    },
    async noteAbsent(commit, file) {
      await mkdir(dirname(noted(commit, file)), { recursive: true })
      await (await open(noted(commit, file), 'a')).close()
    },
    async place(commit, file, etag) {
      const path = join(folderOf(commit), file)
      if (await isThere(path)) return path
      await mkdir(dirname(path), { recursive: true })
      await link(blob(etag), path)
      return path
    },
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** A relative link, so that the cache may be moved; a copy where links are not allowed, as on Windows. */
async function link(target: string, path: string): Promise<void> {
  // A link whose blob was removed is in the way of a new one.
  if (await lstat(path).catch(() => null)) await rm(path, { force: true })
  try {
    await symlink(relative(dirname(path), target), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return // another process was faster
    const temporary = temporaryPath(path)
    await copyFile(target, temporary)
    await rename(temporary, path)
  }
}

/** Says that a download has no room, before it fills the disk. @throws UserError CACHE_UNWRITABLE */
export async function checkRoom(folder: string, name: string, bytes: number): Promise<void> {
  const disk = await statfs(folder).catch(() => null)
  if (disk === null) return // not every file system tells
  const free = disk.bavail * disk.bsize
  if (bytes + SPARE_BYTES <= free) return
  throw unwritable(folder, `${name} takes ${megabytes(bytes)} more, and the disk has ${megabytes(free)} left`)
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6).toLocaleString('en')} MB`
}

function unwritable(folder: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'CACHE_UNWRITABLE',
      what: `${folder} cannot take what is downloaded`,
      why,
      fix: 'make room or make it writable (what has come is kept), or set HF_HUB_CACHE to another folder',
    },
    { cause },
  )
}

/** A file system's error as a UserError; any other error as it is. */
export function asHubCacheError(folder: string, error: unknown): unknown {
  const reason = failureReason(error)
  return reason === null ? error : unwritable(folder, reason, error)
}
