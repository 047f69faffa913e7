/**
 * @file Names under which a server is reached: whether only this machine does so, and whether a browser may.
 */
import { isIP } from 'node:net'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host)
}

/**
 * Whether a request for that name can be meant for a server that listens on `bound`. A page that makes a name of its own lead to 127.0.0.1 would be of the
 * server's origin, for its browser: so a server that only this machine reaches goes by no name but localhost, what it was bound to, and addresses.
 * Of one that others reach, nobody here knows all the names.
 *
 * @param header the request's `Host`
 */
export function isNameOf(bound: string, header: string | undefined): boolean {
  if (!isLoopback(bound)) return true
  if (header === undefined || !URL.canParse(`http://${header}`)) return false
  const { hostname } = new URL(`http://${header}`)
  const name = hostname.replace(/^\[|\]$/g, '')
  return name === 'localhost' || name === bound || isIP(name) !== 0
}

/** Browsers send the page's origin: only pages that this server delivered may connect. Other programs send none, or ours. */
export function isSameOrigin(origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined) return true
  return URL.canParse(origin) && new URL(origin).host === host
}
