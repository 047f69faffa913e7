/**
 * @file The HTTP server under the links, in the clear or over TLS, and what keeps it from listening.
 */
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import { UserError, unreachable } from '../shared/errors.js'
import type { Certificate } from './certificate.js'

/** The oldest version without known weaknesses; Node's own lower bound can be set from outside. */
const MIN_TLS = 'TLSv1.2'

export interface PlainOrTls {
  readonly http: HttpServer | HttpsServer
  /** Connections from now on meet this certificate. */
  renew(certificate: Certificate): void
}

/**
 * @param certificate without it connections are not encrypted
 * @param handshakeMs how long a connection may take to be encrypted
 */
export function httpServer(certificate: Certificate | undefined, handshakeMs: number, listener: RequestListener): PlainOrTls {
  if (!certificate) return { http: createServer(listener), renew: () => unreachable('a server without TLS got a certificate') }
  const contextOf = ({ cert, key }: Certificate) => ({ cert, key, minVersion: MIN_TLS }) as const
  const http = createTlsServer({ ...contextOf(certificate), handshakeTimeout: handshakeMs }, listener)
  return { http, renew: (renewed) => http.setSecureContext(contextOf(renewed)) }
}

/** @throws UserError PORT_IN_USE, or BAD_ARGUMENT if this machine cannot listen on that host and port. */
export function bind(http: HttpServer | HttpsServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => reject(bindError(error, host, port)))
    http.listen(port, host, resolve)
  })
}

function bindError(error: NodeJS.ErrnoException, host: string, port: number): UserError {
  const what = `the server cannot listen on ${host.includes(':') ? `[${host}]` : host}:${port}`
  if (error.code === 'EADDRINUSE') {
    return new UserError(
      {
        code: 'PORT_IN_USE',
        what,
        why: 'another program already uses that port',
        fix: 'stop that program, or choose another port with --port',
      },
      { cause: error },
    )
  }
  return new UserError(
    { code: 'BAD_ARGUMENT', what, why: error.message, fix: 'give an address of this machine with --host and a free port with --port' },
    { cause: error },
  )
}
