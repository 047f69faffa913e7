/**
 * @file Files that other processes see whole or not at all: written under a temporary name, forced to disk, then renamed.
 */
import { createHash, randomBytes } from 'node:crypto'
import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** Tells this machine's temporaries from those that another one left on a shared disk. */
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)
const TEMPORARY = /\.([0-9a-f]{8})\.(\d+)\.[0-9a-f]{8}\.tmp$/
const FOREIGN_LIFETIME_MS = 24 * 60 * 60 * 1000

/** A name beside `path`, in the same file system, that tells who writes it. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${HOST}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`)
}

/**
 * Replaces `path` by what `write` puts in the file. If anything fails, the old file stays and the temporary one goes.
 *
 * @returns what `write` returns.
 */
export async function writeAtomically<Result>(path: string, write: (handle: FileHandle) => Promise<Result>): Promise<Result> {
  const temporary = temporaryPath(path)
  try {
    const handle = await open(temporary, 'wx')
    let result: Result
    try {
      result = await write(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return result
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Forces a folder's entries to disk where the system can do that; Windows cannot. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // it lives, and belongs to somebody else
  }
}

/** Removes temporaries in `folder` whose process is dead, or whose machine is another one and which are a day old. */
export async function removeStaleTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const match = TEMPORARY.exec(name)
    if (!match) continue
    const path = join(folder, name)
    const isStale =
      match[1] === HOST
        ? !isAlive(Number(match[2]))
        : Date.now() - ((await stat(path).catch(() => null))?.mtimeMs ?? Infinity) > FOREIGN_LIFETIME_MS
    if (isStale) await rm(path, { force: true, recursive: true })
  }
}
