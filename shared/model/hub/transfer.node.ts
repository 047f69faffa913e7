/**
 * @file Fetches bytes of a file on the hub into a file here. What was fetched before a break is not fetched again.
 */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { UserError } from '../../errors.js'
import { unreachable as hubUnreachable } from './errors.js'
import { connectionProblem, type HubHttp, type HubRequest } from './http.node.js'

/** Breaks in a row, with nothing fetched between them, before it is given up. */
const ATTEMPTS = 5

/** Bytes [from, from + bytes) of the file on the hub. */
export interface Segment {
  readonly from: number
  readonly bytes: number
}

export interface Transfer {
  /** Of one commit, whose files never change: that is why a transfer may go on where it stopped, without an etag to compare. */
  readonly url: string
  readonly subject: HubRequest['subject']
  /** Of the whole file on the hub. */
  readonly fileBytes: number
  /** What the file here begins with. */
  readonly prefix: Uint8Array
  /** What follows, in this order. */
  readonly segments: readonly Segment[]
}

/**
 * Fills `path` up to its end; what it holds already is taken for right.
 *
 * @param onBytes hears how many bytes of the segments are there, first of all how many were there before.
 * @throws UserError HUB_UNREACHABLE, MODEL_NOT_FOUND and what else HubHttp.get says, TRANSFER_CORRUPT if the hub sends other bytes than
 *   were asked for; the file system's errors; the signal's reason.
 */
export async function fetchInto(path: string, transfer: Transfer, http: HubHttp, onBytes: (done: number) => void): Promise<void> {
  const handle = await open(path, 'a+')
  try {
    let done = await beginning(handle, transfer)
    onBytes(done)
    const total = transfer.segments.reduce((sum, { bytes }) => sum + bytes, 0)
    for (let failures = 0; done < total;) {
      const before = done
      try {
        for await (const piece of piecesFrom(transfer, done, http)) {
          await writeAll(handle, piece)
          done += piece.length
          onBytes(done)
        }
      } catch (error) {
        http.signal?.throwIfAborted()
        // Only a break is worth another try.
        if (!(error instanceof Break)) throw error
        failures = done > before ? 1 : failures + 1
        if (failures >= ATTEMPTS)
          throw hubUnreachable(http.environment.endpoint, transfer.subject, connectionProblem(error.cause), error.cause)
        await http.backOff(failures)
      }
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The connection broke, or stood still for too long. */
class Break extends Error {}

/** How many bytes of the segments are there; writes the prefix where there is none. */
async function beginning(handle: FileHandle, { prefix, segments }: Transfer): Promise<number> {
  const total = segments.reduce((sum, { bytes }) => sum + bytes, prefix.length)
  const { size } = await handle.stat()
  if (size >= prefix.length && size <= total) {
    const found = new Uint8Array(prefix.length)
    const { bytesRead } = await handle.read(found, 0, found.length, 0)
    if (bytesRead === prefix.length && Buffer.compare(found, prefix) === 0) return size - prefix.length
  }
  await handle.truncate(0)
  await writeAll(handle, prefix)
  return 0
}

/** What is left of the segment that byte `done` of all segments falls into; the caller asks again for the next. */
async function* piecesFrom({ url, subject, fileBytes, segments }: Transfer, done: number, http: HubHttp): AsyncGenerator<Uint8Array> {
  let skipped = 0
  const segment = segments.find(({ bytes }) => (skipped += bytes) > done)!
  const left = skipped - done
  const from = segment.from + segment.bytes - left
  const isWhole = from === 0 && left === fileBytes
  const { downloadTimeoutSeconds: timeoutSeconds } = http.environment
  const headers = isWhole ? {} : { range: `bytes=${from}-${from + left - 1}` }
  const response = await http.get({ url, subject, headers, timeoutSeconds })
  let toSkip = 0
  if (response.status === 206) checkRange(response, from, left, fileBytes, subject)
  else toSkip = from // a host that knows no ranges sends it all
  let missing = left
  for await (const received of bodyOf(response, timeoutSeconds, http.signal)) {
    const skip = Math.min(toSkip, received.length)
    toSkip -= skip
    const piece = received.subarray(skip, skip + missing)
    missing -= piece.length
    if (piece.length > 0) yield piece
    if (missing === 0) return
  }
  throw new Break('the connection ended early', { cause: new Error(`it ended ${missing} bytes early`) })
}

/** The body, piece by piece. @throws Break */
async function* bodyOf(response: Response, timeoutSeconds: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (!reader) return
  const stop = (): void => void reader.cancel().catch(() => {})
  signal?.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      const { done, value } = await readInTime(reader, timeoutSeconds)
      signal?.throwIfAborted()
      if (done) return
      yield value
    }
  } finally {
    signal?.removeEventListener('abort', stop)
    stop()
  }
}

async function readInTime(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  timeoutSeconds: number,
): Promise<Awaited<ReturnType<typeof reader.read>>> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${timeoutSeconds} s`)), timeoutSeconds * 1000)
  })
  try {
    return await Promise.race([reader.read(), late])
  } catch (cause) {
    throw new Break('the connection broke', { cause })
  } finally {
    clearTimeout(timer)
  }
}

function checkRange(response: Response, from: number, bytes: number, fileBytes: number, subject: Transfer['subject']): void {
  const range = response.headers.get('content-range')
  if (range === `bytes ${from}-${from + bytes - 1}/${fileBytes}`) return
  throw corrupt(subject, `the hub was asked for bytes ${from} to ${from + bytes - 1} of ${fileBytes}, and sends ${JSON.stringify(range)}`)
}

/** One call may write less than it was given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done)).bytesWritten
}

/**
 * Whether a file's bytes are those that its etag was made of.
 * @param etag SHA-256 of the bytes, or git's SHA-1 of a blob that holds them; lower-case hex.
 */
export async function hasEtag(path: string, bytes: number, etag: string): Promise<boolean> {
  const hash: Hash = etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`)
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer)
  return hash.digest('hex') === etag
}

export function corrupt({ id, file }: Transfer['subject'], why: string): UserError {
  return new UserError({
    code: 'TRANSFER_CORRUPT',
    what: `${file ?? 'a file'} of ${id} did not arrive as it is on the hub`,
    why,
    fix: 'start again: it is then fetched afresh; if it happens again, a proxy on the way may change what it passes on',
  })
}
