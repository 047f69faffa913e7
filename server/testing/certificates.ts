/**
 * @file Certificates for tests: an authority, and what it or nobody vouches for; with any names, valid whenever a test wants it.
 *
 * X.509 version 3 in DER (RFC 5280), signed with ECDSA on P-256, with the extensions that strict readers ask for.
 */
import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { isIP } from 'node:net'

export interface TestCertificate {
  /** PEM */
  readonly cert: string
  readonly key: string
}

export interface TestAuthority {
  /** PEM: what a client is to trust. */
  readonly cert: string
  /** @param names DNS names and IPv4 addresses */
  issue(names: readonly string[], validity?: Validity): TestCertificate
}

export interface Validity {
  readonly from?: Date
  readonly to?: Date
}

const DAY_MS = 86_400_000
const yesterday = (): Date => new Date(Date.now() - DAY_MS)
const tomorrow = (): Date => new Date(Date.now() + DAY_MS)

/** Expired this morning, as it were. */
export const EXPIRED: Validity = { from: new Date(Date.now() - 10 * DAY_MS), to: yesterday() }

export function testAuthority(name = 'an authority for tests'): TestAuthority {
  const keys = keyPair()
  const cert = certificate({ subject: name, issuer: name, names: [], keys, signer: keys, isAuthority: true })
  return {
    cert,
    issue(names, validity) {
      const own = keyPair()
      return {
        cert: certificate({ subject: names[0], issuer: name, names, keys: own, signer: keys, isAuthority: false, ...validity }),
        key: pem(own),
      }
    },
  }
}

/** One that vouches for itself, as `openssl req -x509` makes it. */
export function selfSigned(names: readonly string[], validity?: Validity): TestCertificate {
  const keys = keyPair()
  return {
    cert: certificate({ subject: names[0], issuer: names[0], names, keys, signer: keys, isAuthority: true, ...validity }),
    key: pem(keys),
  }
}

interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

const keyPair = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = ({ privateKey }: KeyPair): string => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

interface Contents extends Validity {
  readonly subject: string
  readonly issuer: string
  readonly names: readonly string[]
  readonly keys: KeyPair
  readonly signer: KeyPair
  readonly isAuthority: boolean
}

function certificate({ subject, issuer, names, keys, signer, isAuthority, from = yesterday(), to = tomorrow() }: Contents): string {
  const algorithm = sequence(OID.ecdsaWithSha256)
  const contents = sequence(
    der(0xa0, integer(Uint8Array.of(2))),
    integer(Uint8Array.of(1, ...randomBytes(8))),
    algorithm,
    nameOf(issuer),
    sequence(time(from), time(to)),
    nameOf(subject),
    spki(keys),
    der(
      0xa3,
      sequence(
        extension(OID.basicConstraints, sequence(...(isAuthority ? [TRUE] : [])), true),
        // Bits from the highest on: 0 digital signature, 5 signs certificates.
        extension(OID.keyUsage, der(0x03, isAuthority ? Uint8Array.of(2, 0x84) : Uint8Array.of(7, 0x80)), true),
        extension(OID.subjectKey, der(0x04, keyId(keys))),
        extension(OID.authorityKey, sequence(der(0x80, keyId(signer)))),
        ...(names.length === 0 ? [] : [extension(OID.alternativeNames, sequence(...names.map(alternativeName)))]),
      ),
    ),
  )
  const signature = sign('sha256', contents, signer.privateKey)
  const bytes = Buffer.from(sequence(contents, algorithm, bits(signature)))
  return `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}

/** Type, length, value. */
function der(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat(parts)
  const { length } = value
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Uint8Array.of(type, ...size), value])
}

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => der(0x30, ...parts)
const integer = (bytes: Uint8Array): Uint8Array => der(0x02, bytes)
const bits = (bytes: Uint8Array): Uint8Array => der(0x03, Uint8Array.of(0), bytes)
const oid = (hex: string): Uint8Array => der(0x06, Buffer.from(hex, 'hex'))
const TRUE = der(0x01, Uint8Array.of(0xff))

const OID = {
  ecdsaWithSha256: oid('2a8648ce3d040302'),
  commonName: oid('550403'),
  subjectKey: oid('551d0e'),
  keyUsage: oid('551d0f'),
  alternativeNames: oid('551d11'),
  basicConstraints: oid('551d13'),
  authorityKey: oid('551d23'),
}

function extension(id: Uint8Array, value: Uint8Array, isCritical = false): Uint8Array {
  return sequence(id, ...(isCritical ? [TRUE] : []), der(0x04, value))
}

const nameOf = (text: string): Uint8Array => sequence(der(0x31, sequence(OID.commonName, der(0x0c, Buffer.from(text)))))
/** YYYYMMDDHHMMSSZ of RFC 5280's UTCTime, without the century. */
const time = (date: Date): Uint8Array =>
  der(
    0x17,
    Buffer.from(
      `${date
        .toISOString()
        .replace(/[-:T]|\.\d+/g, '')
        .slice(2)}`,
    ),
  )
const spki = ({ publicKey }: KeyPair): Uint8Array => publicKey.export({ type: 'spki', format: 'der' })
const keyId = (keys: KeyPair): Uint8Array => createHash('sha1').update(spki(keys)).digest()
const alternativeName = (name: string): Uint8Array =>
  isIP(name) === 4 ? der(0x87, Uint8Array.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name))
