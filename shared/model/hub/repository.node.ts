/**
 * @file What the hub says of a model: the commit of a revision, and the files of a commit. Asked by Hugging Face's own package.
 */
import { UserError } from '../../errors.js'
import type { HubHttp, HubRequest } from './http.node.js'
import { isCommit } from './id.js'

/** A file of a commit. */
export interface HubFile {
  readonly name: string
  readonly bytes: number
  /** As the cache names its bytes: SHA-256 for a large file (LFS), else git's SHA-1 of a blob; lower-case hex. */
  readonly etag: string
}

/** Far more than any model has at its top; a listing without end is refused. */
const MAX_FILES = 10_000

type Asked = Pick<HubRequest, 'subject' | 'attempts'>

/** Loaded when a model is looked up: it takes a while, and most commands never need it. */
const hubPackage = () => import('@huggingface/hub')

/** The package's requests, made as ours are: it gets no token, and its errors are ours. */
function fetchWith(http: HubHttp, asked: Asked): typeof fetch {
  return (input, init) =>
    http.get({
      url: input instanceof Request ? input.url : String(input),
      headers: Object.fromEntries(new Headers(init?.headers)),
      timeoutSeconds: http.environment.metadataTimeoutSeconds,
      ...asked,
    })
}

/**
 * The commit that a branch or tag points to now.
 * @throws UserError MODEL_NOT_FOUND, MODEL_ACCESS_DENIED, HUB_UNREACHABLE, HUB_FAILED.
 */
export async function commitOf(http: HubHttp, id: string, revision: string, attempts?: number): Promise<string> {
  const asked = { subject: { id, revision, file: null }, ...(attempts === undefined ? {} : { attempts }) }
  const { modelInfo } = await hubPackage()
  const { sha } = await understood(http, id, () =>
    modelInfo({ name: id, revision, additionalFields: ['sha'], hubUrl: http.environment.endpoint, fetch: fetchWith(http, asked) }),
  )
  if (typeof sha !== 'string' || !isCommit(sha)) throw notUnderstood(http, id, 'it names no commit')
  return sha
}

/** The files at the top of a commit, by name. Those in folders are of no use here. Throws as commitOf. */
export async function filesOf(http: HubHttp, id: string, commit: string): Promise<ReadonlyMap<string, HubFile>> {
  const { listFiles } = await hubPackage()
  return understood(http, id, async () => {
    const files = new Map<string, HubFile>()
    const fetch = fetchWith(http, { subject: { id, revision: commit, file: null } })
    for await (const entry of listFiles({
      repo: { type: 'model', name: id },
      revision: commit,
      hubUrl: http.environment.endpoint,
      fetch,
    })) {
      if (files.size >= MAX_FILES) throw notUnderstood(http, id, `it lists more than ${MAX_FILES} files`)
      const etag = entry.lfs?.oid ?? entry.oid
      const bytes = entry.lfs?.size ?? entry.size
      // Names become files of the cache: nothing that is more than a name.
      if (entry.type !== 'file' || !/^[\w-][\w.+-]*$/.test(entry.path)) continue
      if (typeof etag !== 'string' || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag) || !Number.isSafeInteger(bytes) || bytes < 0)
        throw notUnderstood(http, id, `it lists ${entry.path} without a size or hash`)
      files.set(entry.path, { name: entry.path, bytes, etag })
    }
    return files
  })
}

/** What is no error of ours came of an answer that is not the hub's. */
async function understood<Result>(http: HubHttp, id: string, ask: () => Promise<Result>): Promise<Result> {
  try {
    return await ask()
  } catch (error) {
    http.signal?.throwIfAborted()
    if (error instanceof UserError) throw error
    throw notUnderstood(http, id, (error as Error).message, error)
  }
}

function notUnderstood({ environment: { endpoint } }: HubHttp, id: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'HUB_FAILED',
      what: `what the hub says of ${id} cannot be used`,
      why: `the answer of ${endpoint} is not that of a hub: ${why}`,
      fix: 'check HF_ENDPOINT, or start again later',
    },
    { cause },
  )
}
