/**
 * @file Requests to the hub: redirects, timeouts, retries, and who gets to see the token.
 *
 * Redirects are followed by hand, so that the token goes to the endpoint and to no other host, whatever a response says.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { packageVersion } from '../../version.node.js'
import { refusalError, unreachable, type HubSubject } from './errors.js'
import type { HubEnvironment } from './environment.node.js'

const MAX_REDIRECTS = 8
const ATTEMPTS = 5
const MAX_WAIT_MS = 60_000
/** Statuses that pass by themselves. */
const RETRIED = new Set([408, 429, 500, 502, 503, 504])

export interface HubRequest {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  /** Until the response's head is there. */
  readonly timeoutSeconds: number
  /** 1: no second try. */
  readonly attempts?: number
  /** What to say it was about. */
  readonly subject: Omit<HubSubject, 'endpoint' | 'hasToken'>
}

export interface HubHttp {
  readonly environment: HubEnvironment
  readonly signal: AbortSignal | undefined
  /**
   * A response that is ok; its body is still to be read.
   * @throws UserError as refusalError says, HUB_UNREACHABLE after the last attempt; the signal's reason if it aborts.
   */
  get(request: HubRequest): Promise<Response>
  /** Waits before another try. @param failures so far, from 1 */
  backOff(failures: number, retryAfterMs?: number | null): Promise<void>
}

export interface HttpOptions {
  readonly signal?: AbortSignal | undefined
  /** Of the first wait before a second try; each is twice the one before. */
  readonly backOffMs?: number | undefined
}

export function hubHttp(environment: HubEnvironment, { signal, backOffMs = 500 }: HttpOptions = {}): HubHttp {
  const endpoint = new URL(environment.endpoint)
  const agent = `cutlayer/${packageVersion()}${environment.isTelemetryOff ? '' : `; node/${process.versions.node}`}`
  let token: Promise<string | null> | undefined

  async function follow(request: HubRequest): Promise<{ response: Response; hasToken: boolean }> {
    let url = new URL(request.url)
    let hasToken = false
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const isEndpoint = url.origin === endpoint.origin
      const secret = isEndpoint ? await (token ??= environment.token()) : null
      hasToken ||= secret !== null
      const response = await withTimeout(request.timeoutSeconds, signal, (limit) =>
        fetch(url, {
          redirect: 'manual',
          signal: limit,
          headers: {
            // What comes must be the file's own bytes: ranges and sizes are of those.
            'accept-encoding': 'identity',
            'user-agent': agent,
            ...request.headers,
            ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
          },
        }),
      )
      const location = response.headers.get('location')
      if (response.status < 300 || response.status >= 400 || location === null) return { response, hasToken }
      await response.body?.cancel()
      if (!URL.canParse(location, url.href)) throw new TypeError('a redirect leads to what is no address')
      const next = new URL(location, url)
      if (next.protocol !== 'https:' && next.protocol !== endpoint.protocol) throw new TypeError(`a redirect leads to ${next.protocol}`)
      url = next
    }
    throw new TypeError(`more than ${MAX_REDIRECTS} redirects`)
  }

  async function backOff(failures: number, retryAfterMs: number | null = null): Promise<void> {
    // Half of it at random, so that clients that failed together do not come back together.
    const waitMs = backOffMs * 2 ** (failures - 1) * (0.5 + Math.random() / 2)
    await sleep(Math.min(MAX_WAIT_MS, retryAfterMs ?? waitMs), undefined, signal ? { signal } : {})
  }

  return {
    environment,
    signal,
    backOff,
    async get(request) {
      const { subject, attempts = ATTEMPTS } = request
      for (let failures = 1; ; failures++) {
        let response: Response
        let hasToken: boolean
        try {
          ;({ response, hasToken } = await follow(request))
        } catch (error) {
          signal?.throwIfAborted()
          if (failures >= attempts) throw unreachable(environment.endpoint, subject, connectionProblem(error), error)
          await backOff(failures)
          continue
        }
        if (response.ok) return response
        await response.body?.cancel()
        if (failures >= attempts || !RETRIED.has(response.status)) {
          throw refusalError(
            { endpoint: environment.endpoint, ...subject, hasToken },
            {
              status: response.status,
              errorCode: response.headers.get('x-error-code'),
              errorMessage: response.headers.get('x-error-message'),
            },
          )
        }
        await backOff(failures, retryAfterMs(response.headers.get('retry-after')))
      }
    },
  }
}

/** @throws the signal's reason, or a TimeoutError. */
export async function withTimeout<Result>(
  seconds: number,
  signal: AbortSignal | undefined,
  work: (limit: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const limit = new AbortController()
  const stop = (): void => limit.abort(signal?.reason)
  signal?.throwIfAborted()
  signal?.addEventListener('abort', stop, { once: true })
  const timer = setTimeout(() => limit.abort(new DOMException(`no answer within ${seconds} s`, 'TimeoutError')), seconds * 1000)
  try {
    return await work(limit.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
  }
}

/** The innermost cause tells most: fetch itself only says that it failed. */
export function connectionProblem(error: unknown): string {
  let inner = error
  while (inner instanceof Error && inner.cause !== undefined) inner = inner.cause
  if (!(inner instanceof Error)) return String(inner)
  if (inner.message !== '') return inner.message
  return 'code' in inner ? String(inner.code) : inner.name
}

/** Seconds or a date. Source: RFC 9110, section 10.2.3. */
function retryAfterMs(value: string | null): number | null {
  if (value === null) return null
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : null
}
