/**
 * @file A commit of a model on the hub: its files as they are asked for, from the cache where it has them.
 */
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { UserError } from '../../errors.js'
import { asHubCacheError, checkRoom, hubCache, type HubCache } from './cache.node.js'
import { hubEnvironment } from './environment.node.js'
import { fileMissing, notCached } from './errors.js'
import { hubHttp, type HttpOptions, type HubHttp } from './http.node.js'
import { checkRevision, isCommit } from './id.js'
import { whileLocked } from './lock.node.js'
import { commitOf, filesOf, type HubFile } from './repository.node.js'
import { corrupt, fetchInto, hasEtag, type Transfer } from './transfer.node.js'

/** What happens on the way to a model. Bytes count from the file's start, what was there before included. */
export type HubEvent =
  | {
      readonly type: 'begin' | 'progress' | 'end'
      readonly model: string
      readonly file: string
      readonly done: number
      readonly bytes: number
    }
  | { readonly type: 'notice'; readonly model: string; readonly text: string }

export interface HubAccess extends HttpOptions {
  /** Instead of this process's own. */
  readonly environment?: NodeJS.ProcessEnv
  readonly onEvent?: (event: HubEvent) => void
}

export interface HubSnapshot {
  readonly id: string
  /** 40 hexadecimal digits. */
  readonly commit: string
  /** Holds the files that were asked for so far. Absolute. */
  readonly folder: string
  /**
   * The path of a file of the commit, which is fetched if it is not there; null if the commit has none, or no host can be asked for it.
   * @throws UserError TRANSFER_CORRUPT, CACHE_UNWRITABLE, and what HubHttp.get throws.
   */
  find(file: string): Promise<string | null>
  /** As `find`. @throws UserError MODEL_NOT_FOUND in place of null. */
  need(file: string): Promise<string>
  /** Whether the file is here, so that no host need be asked for it. */
  isHere(file: string): Promise<boolean>
  /** Files at the commit's top. @throws UserError MODEL_NOT_FOUND if no host can be asked, and as `find`. */
  list(): Promise<ReadonlyMap<string, HubFile>>
  /**
   * Fills `path` with parts of a file.
   * @param name what events call it; null: there are none
   * @throws UserError as `find`, and the file system's errors.
   */
  fetchParts(file: HubFile, path: string, parts: Pick<Transfer, 'prefix' | 'segments'>, name: string | null): Promise<void>
}

/**
 * Looks up which commit a revision is. Where the hub cannot say, it is the commit that it was last, if the cache knows that.
 *
 * @throws UserError CONFIG_VALUE for an ill-formed revision; MODEL_NOT_FOUND offline; what commitOf throws.
 */
export async function openSnapshot(id: string, revision: string, access: HubAccess = {}): Promise<HubSnapshot> {
  checkRevision(revision)
  const environment = hubEnvironment(access.environment)
  const cache = hubCache(environment.cache, id)
  const http = hubHttp(environment, access)
  if (isCommit(revision)) return snapshotOf({ id, commit: revision, cache, http, access, offline: environment.isOffline ? OFFLINE : null })
  const last = await cache.readRef(revision)
  if (environment.isOffline) {
    if (last === null) throw notCached(environment.cache, id, revision, OFFLINE)
    return snapshotOf({ id, commit: last, cache, http, access, offline: OFFLINE })
  }
  try {
    // With a copy at hand it is not worth waiting for a hub that fails.
    const commit = await commitOf(http, id, revision, last === null ? undefined : 1)
    await cache.writeRef(revision, commit).catch((error: unknown) => {
      // A cache that is read-only serves what it holds.
      if (last === null) throw asHubCacheError(environment.cache, error)
    })
    return snapshotOf({ id, commit, cache, http, access, offline: null })
  } catch (error) {
    if (last === null || !(error instanceof UserError)) throw error
    const text = `${id} is taken from the cache, as it was last (${last.slice(0, 12)}): ${error.what}: ${error.why}`
    access.onEvent?.({ type: 'notice', model: id, text })
    return snapshotOf({ id, commit: last, cache, http, access, offline: error.why })
  }
}

const OFFLINE = 'HF_HUB_OFFLINE is set, so no host is asked'

interface Setting {
  readonly id: string
  readonly commit: string
  readonly cache: HubCache
  readonly http: HubHttp
  readonly access: HubAccess
  /** Why no host can be asked; null: one can. */
  readonly offline: string | null
}

function snapshotOf({ id, commit, cache, http, access, offline }: Setting): HubSnapshot {
  const { environment, signal } = http
  const tell = (type: 'begin' | 'progress' | 'end', file: string | null, done: number, bytes: number): void => {
    if (file !== null) access.onEvent?.({ type, model: id, file, done, bytes })
  }
  let listed: Promise<ReadonlyMap<string, HubFile>> | undefined

  async function list(): Promise<ReadonlyMap<string, HubFile>> {
    if (offline !== null) throw notCached(environment.cache, id, commit, offline)
    return (listed ??= filesOf(http, id, commit))
  }

  const fetchParts: HubSnapshot['fetchParts'] = async (file, path, parts, name) => {
    const bytes = parts.segments.reduce((sum, segment) => sum + segment.bytes, 0)
    const url = `${environment.endpoint}/${id}/resolve/${commit}/${encodeURIComponent(file.name)}`
    const subject = { id, revision: commit, file: file.name }
    const before = (await stat(path).catch(() => null))?.size ?? 0
    await checkRoom(dirname(path), file.name, bytes - before)
    let isFirst = true
    await fetchInto(path, { url, subject, fileBytes: file.bytes, ...parts }, http, (done) => {
      tell(isFirst ? 'begin' : 'progress', name, done, bytes)
      isFirst = false
    })
    tell('end', name, bytes, bytes)
  }

  /** One process fetches, the others wait for its blob. */
  async function fetchBlob(file: HubFile): Promise<void> {
    const blob = cache.blob(file.etag)
    if (await isThere(blob, file)) return
    await mkdir(dirname(blob), { recursive: true })
    const onWait = (): void =>
      access.onEvent?.({ type: 'notice', model: id, text: `another process is downloading ${file.name}; waiting for it` })
    await whileLocked(cache.lock(file.etag), { signal, onWait }, async () => {
      if (await isThere(blob, file)) return
      // Not the name that Python gives its own: it may be at work here too, and knows nothing of our lock.
      const incomplete = `${blob}.cutlayer.incomplete`
      for (let attempt = 1; ; attempt++) {
        await fetchParts(file, incomplete, { prefix: new Uint8Array(0), segments: [{ from: 0, bytes: file.bytes }] }, file.name)
        if (await hasEtag(incomplete, file.bytes, file.etag)) return rename(incomplete, blob)
        // A bad beginning may have been left by an earlier process, so once more from the start.
        await rm(incomplete)
        if (attempt === 2) throw corrupt({ id, revision: commit, file: file.name }, 'its hash is not the one that the hub lists')
      }
    })
  }

  async function find(name: string): Promise<string | null> {
    const found = await cache.find(commit, name)
    if (found !== null) return found === 'absent' ? null : found
    if (offline !== null) return null
    try {
      const file = (await list()).get(name)
      if (!file) {
        await cache.noteAbsent(commit, name)
        return null
      }
      await fetchBlob(file)
      return await cache.place(commit, name, file.etag)
    } catch (error) {
      throw asHubCacheError(environment.cache, error)
    }
  }

  return {
    id,
    commit,
    folder: cache.folderOf(commit),
    find,
    async need(file) {
      const path = await find(file)
      if (path !== null) return path
      throw offline === null ? fileMissing({ id, revision: commit, file }) : notCached(environment.cache, id, commit, offline, file)
    },
    isHere: async (file) => ![null, 'absent'].includes(await cache.find(commit, file)),
    list,
    fetchParts,
  }
}

async function isThere(blob: string, { bytes }: HubFile): Promise<boolean> {
  return (await stat(blob).catch(() => null))?.size === bytes
}
