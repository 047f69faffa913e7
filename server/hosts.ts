/**
 * @file Names under which a server is reached: whether only this machine does so, whether a browser may, and which one clients are told.
 */
import { isIP } from 'node:net'
import type { Certificate } from './certificate.js'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/
const WILDCARDS = ['0.0.0.0', '::']

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host)
}

/** What is known of a server's names. */
export interface KnownNames {
  /** What it was told to listen on. */
  readonly bound: string
  /** By which else it is asked, as whoever started it says. */
  readonly names?: readonly string[] | undefined
  readonly certificate?: Pick<Certificate, 'names' | 'covers'> | null | undefined
}

/**
 * Whether a request for that name can be meant for this server. A page that makes a name of its own lead to a server's address would be of the server's
 * origin, for its browser: so a server goes by no names but localhost, what it was bound to, what it was told, those of its certificate, and
 * addresses. Of one that others reach and that was told nothing, nobody here knows the names: it goes by any.
 *
 * @param header the request's `Host`
 */
export function isNameOf({ bound, names = [], certificate }: KnownNames, header: string | undefined): boolean {
  if (!isLoopback(bound) && names.length === 0 && !certificate) return true
  if (header === undefined || !URL.canParse(`http://${header}`)) return false
  const { hostname } = new URL(`http://${header}`)
  const name = hostname.replace(/^\[|\]$/g, '')
  if (name === 'localhost' || name === bound || isIP(name) !== 0) return true
  return names.some((known) => known.toLowerCase() === name) || certificate?.covers(name) === true
}

/**
 * The name that clients are to connect to, as it stands in a URL: one that whoever started the server gave; else one that the certificate has, if there is one,
 * or clients would refuse it; else the address.
 */
export function urlHost({ bound, names = [], certificate }: KnownNames): string {
  const inUrl = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host)
  if (names.length > 0) return inUrl(names[0])
  // A wildcard is no place to connect to.
  const isWildcard = WILDCARDS.includes(bound)
  const address = isWildcard ? '127.0.0.1' : bound
  if (!certificate) return inUrl(address)
  const usable = certificate.names.filter((name) => !name.startsWith('*'))
  const reachable = isWildcard
    ? usable.filter((name) => !isLoopback(name))
    : [bound, ...(isLoopback(bound) ? ['localhost'] : [])].filter((name) => certificate.covers(name))
  return inUrl([...reachable, ...usable, address][0])
}

/** Browsers send the page's origin: only pages that this server delivered may connect. Other programs send none, or ours. */
export function isSameOrigin(origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined) return true
  return URL.canParse(origin) && new URL(origin).host === host
}
