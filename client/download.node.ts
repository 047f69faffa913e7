/**
 * @file Fetches one file of the model from the server into the cache, going on where an earlier attempt stopped.
 *
 * What has come so far lies in `.<file>.<machine>.<process>.<random>.incomplete` beside the file's place, which tells whose it is. A process
 * takes over what a dead one left; two that live fetch each its own, and either may come last. A file gets its name only once it was checked.
 */
import { open, readdir, rename, rm, stat, truncate, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../shared/errors.js'
import { isAbandoned, syncFolder, temporaryPath } from '../shared/model/atomic-file.node.js'
import { MAX_PIECE_BYTES } from '../shared/model/model-files.js'
import type { FileSource } from './file-requests.js'

/** Pieces asked for ahead of the one that is written: the line is never idle. */
const AHEAD = 2

export interface Download {
  /** It exists. */
  readonly folder: string
  readonly file: string
  readonly bytes: number
  /** What the server says it is. */
  readonly sha256: string
  /** Reads the whole file. @returns its SHA-256; throws what else is wrong with it. */
  check(path: string): Promise<string>
  /** Largest piece to ask for. */
  readonly pieceBytes: number
  /** Hears how many bytes of the file are here; fewer than before if it begins again. */
  onBytes(bytes: number): void
}

/** Names of incomplete files that this process is writing. */
const own = new Set<string>()

/**
 * Fetches a file and puts it in its place.
 * @throws UserError TRANSFER_CORRUPT if what comes is twice not what the server said, what `check` and the source throw; the file system's
 *   errors. What has come stays, unless it was wrong.
 */
export async function download(wanted: Download, source: FileSource): Promise<void> {
  for (const isLast of [false, true]) {
    const path = await incompleteFile(wanted)
    try {
      await fill(path, wanted, source)
      const sha256 = await wanted.check(path).catch(async (error: unknown) => {
        // Also an error of the disk: what cannot be read is no beginning of anything.
        await rm(path, { force: true })
        throw error
      })
      if (sha256 === wanted.sha256) {
        await rename(path, join(wanted.folder, wanted.file))
        return await syncFolder(wanted.folder)
      }
      await rm(path, { force: true })
      if (isLast) throw corrupt(wanted, sha256)
    } finally {
      own.delete(path)
    }
  }
}

/** What a dead process left, the longest, taken over; or a new name. Shorter ones are removed. */
async function incompleteFile({ folder, file, bytes }: Download): Promise<string> {
  const path = temporaryPath(join(folder, file), 'incomplete')
  own.add(path)
  const left: { readonly path: string; readonly size: number }[] = []
  for (const name of await readdir(folder)) {
    const other = join(folder, name)
    if (!name.startsWith(`.${file}.`) || !name.endsWith('.incomplete') || !(await isAbandoned(other, own))) continue
    left.push({ path: other, size: (await stat(other).catch(() => null))?.size ?? 0 })
  }
  left.sort((a, b) => b.size - a.size)
  const best = left.find(({ size }) => size <= bytes)
  for (const other of left) {
    // Where another process has just taken it over there is nothing left to take.
    if (other === best) await rename(other.path, path).catch(() => {})
    else await rm(other.path, { force: true })
  }
  return path
}

async function fill(path: string, { file, bytes, pieceBytes, onBytes }: Download, source: FileSource): Promise<void> {
  const handle = await open(path, 'a')
  try {
    let written = (await handle.stat()).size
    let asked = written
    onBytes(written)
    const pieces: Promise<Uint8Array>[] = []
    const askAhead = (): void => {
      while (asked < bytes && pieces.length < AHEAD) {
        const length = Math.min(pieceBytes, MAX_PIECE_BYTES, bytes - asked)
        const piece = source.piece({ file, offset: asked, bytes: length })
        // Whoever awaits it hears of it; when one fails the others are not awaited.
        piece.catch(() => {})
        pieces.push(piece)
        asked += length
      }
    }
    for (askAhead(); pieces.length > 0; askAhead()) {
      const piece = await pieces.shift()!
      await append(handle, path, piece, written)
      written += piece.length
      onBytes(written)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Whole pieces or nothing of them: a disk that is full in the middle of one leaves its beginning, which is as good. */
async function append(handle: FileHandle, path: string, piece: Uint8Array, position: number): Promise<void> {
  try {
    let done = 0
    while (done < piece.length) done += (await handle.write(piece, done, piece.length - done)).bytesWritten
  } catch (error) {
    await truncate(path, position).catch(() => {})
    throw error
  }
}

function corrupt({ file, sha256 }: Download, found: string): UserError {
  return new UserError({
    code: 'TRANSFER_CORRUPT',
    what: `${file} of the server's model did not arrive as the server has it`,
    why: `its SHA-256 is ${found.slice(0, 16)}, and the server's is ${sha256.slice(0, 16)}; it was fetched twice`,
    fix: "look at the server's disk and memory, or give this client a copy of the server's model with --model",
  })
}
