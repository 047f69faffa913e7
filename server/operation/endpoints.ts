/**
 * @file What a server's port answers to plain HTTP: is it alive (`/healthz`), may clients join (`/readyz`), its numbers (`/metrics`).
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { ServerLoad } from '../edge-server.js'
import { bothObservers, fullObserver, type Activity, type RunObserver } from '../observer.js'
import { RunMetrics } from './prometheus.js'

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

export class Endpoints {
  /** Is to hear what the run tells. */
  readonly observer: RunObserver
  private readonly metrics = new RunMetrics()
  private look: (() => ServerLoad) | null = null
  private stop: AbortSignal | null = null
  /** What it does before that. */
  private preparation: Activity['doing'] = 'opening'

  constructor() {
    this.observer = bothObservers(this.metrics.observer, fullObserver({ activity: ({ doing }) => void (this.preparation = doing) }))
  }

  /** The server is up: clients may join, and this tells how it is. Once the signal aborts, none should come any more. */
  opened(look: () => ServerLoad, stop: AbortSignal): void {
    this.look = look
    this.stop = stop
  }

  /** For the HTTP server. */
  readonly handler: RequestListener = (request, response) => {
    this.answer(request).then(
      (answer) => send(request, response, answer),
      (error: Error) => send(request, response, { status: 500, type: 'text/plain; charset=utf-8', body: `${error.message}\n` }),
    )
  }

  private async answer({ method, url = '/' }: IncomingMessage): Promise<Answer> {
    const path = url.split('?', 1)[0]
    if (path !== '/healthz' && path !== '/readyz' && path !== '/metrics') return { status: 404, type: 'text/plain', body: '' }
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, type: 'text/plain', body: '' }
    const load = this.look?.() ?? null
    if (path === '/metrics') return { status: 200, type: this.metrics.contentType, body: await this.metrics.text(load) }
    // Whoever reads this is told by a process whose event loop turns.
    if (path === '/healthz') return json(200, { status: 'ok' })
    if (!load) return json(503, { status: 'starting', doing: this.preparation })
    const { round, doing } = load
    if (doing === null) return json(503, { status: 'over', round })
    return this.stop?.aborted ? json(503, { status: 'stopping', round, doing }) : json(200, { status: 'ready', round, doing })
  }
}

function json(status: number, body: object): Answer {
  return { status, type: 'application/json', body: `${JSON.stringify(body)}\n` }
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body }: Answer): void {
  const headers = {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    // A connection that stays open would be one more for the run's end to wait for.
    connection: 'close',
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
  }
  response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body)
}
