/**
 * @file A hub on this machine that speaks the protocol of the real one, for tests: its API, files, redirects to a second host, ranges, refusals,
 * and what goes wrong on the way.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface HubModel {
  /** Who may read it: everybody, whoever was let in, or nobody else. */
  access: 'open' | 'gated' | 'private'
  /** By branch or tag. */
  revisions: Record<string, { readonly commit: string; readonly files: ReadonlyMap<string, Buffer> }>
}

export interface LoggedRequest {
  /** `cdn` is the host that large files are redirected to. */
  readonly host: 'hub' | 'cdn'
  readonly method: string
  readonly path: string
  readonly range: string | null
  readonly authorization: string | null
  /** Of the file, that were sent. */
  bytes: number
}

/** What is to go wrong with a request; null: nothing. */
export type Fault =
  | { readonly status: number; readonly headers?: Record<string, string> }
  /** The connection breaks after so many bytes of the file. */
  | { readonly breakAfter: number }
  /** Nothing comes after so many bytes. */
  | { readonly stallAfter: number }
  /** The file's bytes are changed on the way. */
  | { readonly garble: true }
  /** The whole file, whatever range was asked for. */
  | { readonly ignoreRange: true }

export interface HubServer {
  readonly endpoint: string
  /** By id. */
  readonly models: Map<string, HubModel>
  readonly requests: LoggedRequest[]
  /** Asked at each request. */
  fault: (request: LoggedRequest) => Fault | null
  close(): Promise<void>
}

export const HUB_TOKEN = 'hf_of_somebody_who_was_let_in'

/** Files of a branch `main`, whose commit is a hash of them. */
export function modelOf(files: Readonly<Record<string, Buffer | string>>, access: HubModel['access'] = 'open'): HubModel {
  return { access, revisions: { main: revisionOf(files) } }
}

export function revisionOf(files: Readonly<Record<string, Buffer | string>>): HubModel['revisions'][string] {
  const map = new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)]))
  const commit = createHash('sha1')
  for (const [name, bytes] of map) commit.update(name).update(etagOf(name, bytes))
  return { commit: commit.digest('hex'), files: map }
}

/** As on the real hub: large files are in LFS and named by SHA-256, others by git's hash. */
export function etagOf(name: string, bytes: Buffer): string {
  return isLarge(name)
    ? createHash('sha256').update(bytes).digest('hex')
    : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

function isLarge(name: string): boolean {
  return /\.(safetensors|bin)$/.test(name)
}

export async function startHub(models: Readonly<Record<string, HubModel>>): Promise<HubServer> {
  const hub: HubServer & { cdn: string } = {
    endpoint: '',
    cdn: '',
    models: new Map(Object.entries(models)),
    requests: [],
    fault: () => null,
    close: () => Promise.all(servers.map(stop)).then(() => {}),
  }
  const servers = (['hub', 'cdn'] as const).map((host) =>
    createServer((request, response) => {
      const logged: LoggedRequest = {
        host,
        method: request.method!,
        path: request.url!,
        range: request.headers.range ?? null,
        authorization: request.headers.authorization ?? null,
        bytes: 0,
      }
      hub.requests.push(logged)
      const fault = hub.fault(logged)
      if (fault && 'status' in fault) return void response.writeHead(fault.status, fault.headers).end()
      if (host === 'cdn') answerCdn(hub, logged, fault, response)
      else answerHub(hub, request, logged, fault, response)
    }),
  )
  const [endpoint, cdn] = await Promise.all(servers.map(listen))
  return Object.assign(hub, { endpoint, cdn })
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}

function answerHub(
  hub: HubServer & { readonly cdn: string },
  request: IncomingMessage,
  logged: LoggedRequest,
  fault: Fault | null,
  response: ServerResponse,
): void {
  const refuse = (status: number, code: string | null, message = ''): void =>
    void response.writeHead(status, { ...(code ? { 'x-error-code': code } : {}), 'x-error-message': message }).end()
  const path = decodeURIComponent(new URL(request.url!, hub.endpoint).pathname)
  const [, apiId, kind, apiRevision] = /^\/api\/models\/(.+?)\/(revision|tree)\/(.+)$/.exec(path) ?? []
  const [, fileId, fileRevision, name] = /^\/(.+?)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? []
  const id = apiId ?? fileId
  if (id === undefined) return refuse(404, null)
  const token = logged.authorization?.replace(/^Bearer /, '')
  if (token !== undefined && token !== HUB_TOKEN) return refuse(401, null, 'Invalid credentials in Authorization header')
  const model = hub.models.get(id)
  if (!model || (model.access === 'private' && token === undefined)) return refuse(token === undefined ? 401 : 404, 'RepoNotFound')
  const wanted = apiRevision ?? fileRevision
  const revision = model.revisions[wanted] ?? Object.values(model.revisions).find(({ commit }) => commit === wanted)
  if (!revision) return refuse(404, 'RevisionNotFound')
  if (kind === 'revision')
    return json(response, {
      _id: '1',
      id,
      private: false,
      gated: false,
      lastModified: '2026-01-01T00:00:00.000Z',
      sha: revision.commit,
      siblings: [...revision.files.keys()].map((rfilename) => ({ rfilename })),
    })
  if (kind === 'tree')
    return json(
      response,
      [...revision.files].map(([file, bytes]) => treeEntry(file, bytes)),
    )
  if (model.access === 'gated' && token === undefined) return refuse(401, 'GatedRepo', 'Access to this model is restricted')
  const bytes = revision.files.get(name)
  if (!bytes) return refuse(404, 'EntryNotFound')
  const etag = etagOf(name, bytes)
  const headers = { 'x-repo-commit': revision.commit, 'accept-ranges': 'bytes' }
  if (!isLarge(name)) return sendFile(response, logged, fault, bytes, { ...headers, etag: `"${etag}"` })
  response.writeHead(302, { ...headers, 'x-linked-etag': `"${etag}"`, 'x-linked-size': bytes.length, location: `${hub.cdn}/${etag}` }).end()
}

function treeEntry(path: string, bytes: Buffer): unknown {
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
  const lfs = { oid: etagOf(path, bytes), size: bytes.length, pointerSize: 134 }
  return { type: 'file', oid, size: bytes.length, path, ...(isLarge(path) ? { lfs } : {}) }
}

/** Files by etag, for whoever knows it: what comes with a token is refused, as signed addresses do. */
function answerCdn({ models }: HubServer, logged: LoggedRequest, fault: Fault | null, response: ServerResponse): void {
  const files = [...models.values()].flatMap(({ revisions }) => Object.values(revisions).flatMap(({ files }) => [...files]))
  const [, bytes] = files.find(([name, content]) => logged.path === `/${etagOf(name, content)}`) ?? []
  if (logged.authorization !== null || !bytes) return void response.writeHead(400).end()
  sendFile(response, logged, fault, bytes, { etag: '"not-the-one-of-the-hub"', 'accept-ranges': 'bytes' })
}

function sendFile(
  response: ServerResponse,
  logged: LoggedRequest,
  fault: Fault | null,
  file: Buffer,
  headers: Record<string, string>,
): void {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(fault && 'ignoreRange' in fault ? '' : (logged.range ?? '')) ?? []
  const start = Number(from ?? 0)
  const end = to ? Number(to) + 1 : file.length
  if (start >= file.length && file.length > 0) return void response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end()
  const body = Buffer.from(file.subarray(start, end))
  if (fault && 'garble' in fault) body[0] = ~body[0]
  response.writeHead(from === undefined ? 200 : 206, {
    ...headers,
    'content-length': body.length,
    ...(from === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${file.length}` }),
  })
  if (logged.method === 'HEAD') return void response.end()
  const sent = fault && 'breakAfter' in fault ? fault.breakAfter : fault && 'stallAfter' in fault ? fault.stallAfter : body.length
  logged.bytes = Math.min(sent, body.length)
  if (sent >= body.length) return void response.end(body)
  response.write(body.subarray(0, sent), () => {
    if (fault && 'breakAfter' in fault) response.socket?.end() // a clean end that comes too early
  })
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
