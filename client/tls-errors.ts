/**
 * @file What is wrong with a server's certificate, or with the scheme of its address, in words that help. Runs in Node and in browsers, which tell nothing of it.
 */
import { UserError } from '../shared/errors.js'

/** What a failure was made of, as far as it says so. */
interface Cause {
  readonly code: string
  readonly message: string
  /** The names in a certificate that has another than the one asked for. */
  readonly names: string | null
}

/** Codes of OpenSSL's verification, as Node names them. Source: nodejs.org/api/tls.html, "X509 certificate error codes". */
const UNTRUSTED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'nobody but itself vouches for it',
  SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not one that this machine trusts',
  UNABLE_TO_GET_ISSUER_CERT: 'its authority is not one that this machine trusts',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is not one that this machine trusts',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its authority is not one that this machine trusts, or the server leaves out what leads to it',
  CERT_UNTRUSTED: 'its authority is not one that this machine trusts',
}

const OTHERWISE_BAD = new Set([
  ...['CERT_REVOKED', 'CERT_REJECTED', 'CERT_SIGNATURE_FAILURE', 'CERT_CHAIN_TOO_LONG', 'INVALID_CA', 'INVALID_PURPOSE'],
  ...['PATH_LENGTH_EXCEEDED', 'ERROR_IN_CERT_NOT_BEFORE_FIELD', 'ERROR_IN_CERT_NOT_AFTER_FIELD', 'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY'],
])

const ASK = 'ask whoever runs the server'

/**
 * @param origin of the server, `https://host:port`
 * @param failure of a connection, as socket.io gives it
 * @returns null if it was about something else.
 */
export function tlsError(origin: string, failure: unknown): UserError | null {
  const cause = causeOf(failure)
  if (!cause) return null
  const { code, message, names } = cause
  // What is no TLS, such as an answer in plain HTTP, OpenSSL takes for a record of a strange version or length.
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|wrong version number|packet length too long/.test(`${code} ${message}`))
    return speaksPlain(origin)
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return refused(
      origin,
      `it stands for ${names ?? 'other names'}, and not for ${new URL(origin).hostname}`,
      'connect by a name that it stands for (--server), or have one made for this name',
    )
  if (code === 'CERT_HAS_EXPIRED')
    return refused(origin, 'it has expired', `${ASK} to renew it, and see that the clock of this machine is right`)
  if (code === 'CERT_NOT_YET_VALID')
    return refused(origin, 'it is not valid yet', `${ASK}, and see that the clock of this machine is right`)
  if (Object.hasOwn(UNTRUSTED, code))
    return refused(
      origin,
      UNTRUSTED[code],
      `${ASK} for the certificate of its authority, or its own if nobody else vouches for it, and give that file with --ca`,
    )
  return OTHERWISE_BAD.has(code) ? refused(origin, `${message} (${code})`, `${ASK} for a certificate that is right`) : null
}

/** For a client that was told `https:`. */
function speaksPlain(origin: string): UserError {
  return new UserError({
    code: 'SERVER_UNREACHABLE',
    what: `the server at ${origin} does not encrypt its connections`,
    why: 'what answers there is not TLS',
    fix: `if it is your server on this machine or at the end of a tunnel, connect to ${origin.replace(/^(http|ws)s:/, '$1:')}; else set transport.tls at the server`,
  })
}

/** For a client that was told `http:`. */
export function speaksTls(origin: string): UserError {
  return new UserError({
    code: 'SERVER_UNREACHABLE',
    what: `the server at ${origin} takes encrypted connections only`,
    why: 'it speaks TLS, and the address says http',
    fix: `connect to ${origin.replace(/^(http|ws):/, '$1s:')}`,
  })
}

function refused(origin: string, why: string, fix: string): UserError {
  return new UserError({ code: 'CERTIFICATE_REFUSED', what: `the certificate of ${origin} is not accepted`, why, fix })
}

/** socket.io's error holds an event of the WebSocket, which holds the error. */
function causeOf(failure: unknown): Cause | null {
  const event = inside(failure, 'description')
  const error = inside(event, 'error')
  const code = inside(error, 'code')
  const message = inside(error, 'message')
  if (typeof code !== 'string' || typeof message !== 'string') return null
  const names = inside(inside(error, 'cert'), 'subjectaltname')
  return { code, message, names: typeof names === 'string' ? names.replaceAll(/DNS:|IP Address:/g, '') : null }
}

function inside(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && key in value ? (value as Readonly<Record<string, unknown>>)[key] : undefined
}
