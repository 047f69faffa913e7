/**
 * @file Files that other processes see whole or not at all: written under a temporary name, forced to disk, then renamed.
 */
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** Tells this machine's temporaries from those that another one left on a shared disk. */
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)
const TEMPORARY = /\.([0-9a-f]{8})\.(\d+)\.[0-9a-f]{8}\.(?:tmp|incomplete)$/
const FOREIGN_LIFETIME_MS = 24 * 60 * 60 * 1000

/** A name beside `path`, in the same file system, that tells who writes it. @param ending `incomplete` for what another process may go on with */
export function temporaryPath(path: string, ending: 'tmp' | 'incomplete' = 'tmp'): string {
  return join(dirname(path), `.${basename(path)}.${HOST}.${process.pid}.${randomBytes(4).toString('hex')}.${ending}`)
}

/** Temporaries that are being written. */
const underWay = new Set<string>()

/**
 * Has a temporary file or folder removed if the process ends (after Ctrl-C, say) while it is being written.
 *
 * @returns takes that back: it has its place, or is gone.
 */
export function removeAtExit(temporary: string): () => void {
  if (underWay.size === 0) process.once('exit', removeUnderWay)
  underWay.add(temporary)
  return () => {
    underWay.delete(temporary)
    if (underWay.size === 0) process.off('exit', removeUnderWay)
  }
}

function removeUnderWay(): void {
  for (const temporary of underWay) {
    try {
      // Writes that are still in the thread pool may put a file into a folder while it is being emptied: hence the retries.
      rmSync(temporary, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
    } catch {
      // The process ends; there is nobody left to tell.
    }
  }
}

/**
 * Makes a temporary folder, and its parents. It is made at once, not in the thread pool, where it would outlive `removeAtExit`.
 */
export async function makeTemporaryFolder(temporary: string): Promise<void> {
  await mkdir(dirname(temporary), { recursive: true })
  mkdirSync(temporary)
}

/**
 * Replaces `path` by what `write` puts in the file. If anything fails, the old file stays and the temporary one goes.
 *
 * @returns what `write` returns.
 */
export async function writeAtomically<Result>(path: string, write: (handle: FileHandle) => Promise<Result>): Promise<Result> {
  const temporary = temporaryPath(path)
  const release = removeAtExit(temporary)
  try {
    const result = await writeToDisk(temporary, write)
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return result
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  } finally {
    release()
  }
}

/** Replaces files of a folder, by name. None is replaced before all are written, so that a full disk leaves all the old ones. */
export async function replaceFiles(folder: string, files: ReadonlyMap<string, string | Uint8Array>): Promise<void> {
  const written = [...files.keys()].map((name) => {
    const path = join(folder, name)
    const temporary = temporaryPath(path)
    return { name, path, temporary, release: removeAtExit(temporary) }
  })
  try {
    for (const { name, temporary } of written) await writeToDisk(temporary, (handle) => handle.writeFile(files.get(name)!))
    for (const { path, temporary } of written) await rename(temporary, path)
    await syncFolder(folder)
  } catch (error) {
    for (const { temporary } of written) await rm(temporary, { force: true })
    throw error
  } finally {
    for (const { release } of written) release()
  }
}

async function writeToDisk<Result>(path: string, write: (handle: FileHandle) => Promise<Result>): Promise<Result> {
  // Made at once: a file that the thread pool makes while the process ends would stay.
  closeSync(openSync(path, 'wx'))
  const handle = await open(path, 'r+')
  try {
    const result = await write(handle)
    await handle.sync()
    return result
  } finally {
    await handle.close()
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

/**
 * Whether nobody writes a temporary any more: its process is dead, or its machine is another one and it is a day old.
 *
 * @param own what this process is writing. Whatever else has its number is of an earlier process, as it happens in containers.
 */
export async function isAbandoned(path: string, own?: ReadonlySet<string>): Promise<boolean> {
  const [, host, number] = TEMPORARY.exec(basename(path)) ?? []
  if (host === undefined) return false
  if (host !== HOST) return Date.now() - ((await stat(path).catch(() => null))?.mtimeMs ?? Infinity) > FOREIGN_LIFETIME_MS
  return own && Number(number) === process.pid ? !own.has(path) : !isAlive(Number(number))
}

/** Removes abandoned temporaries in `folder`, but not what another process may go on with. */
export async function removeStaleTemporaries(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    if (name.endsWith('.tmp') && (await isAbandoned(path))) await rm(path, { force: true, recursive: true })
  }
}
