/**
 * @file The server's certificate and private key: read from PEM files, checked before anything starts, and read again when they are renewed.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { createSecureContext } from 'node:tls'
import { UserError } from '../shared/errors.js'
import { LOOK_MS, stampOf } from './file-stamp.js'

/** Paths, as `transport.tls` names them. */
export interface CertificateFiles {
  /** The server's own certificate first, then those that lead to its authority. */
  readonly cert: string
  readonly key: string
}

export interface Certificate {
  /** PEM, as the files have it. */
  readonly cert: string
  readonly key: string
  /** DNS names and addresses that it stands for. A name may begin with `*.`. */
  readonly names: readonly string[]
  readonly expires: Date
  /** Nobody vouches for it: who is to trust it needs the file itself. */
  readonly isSelfSigned: boolean
  covers(host: string): boolean
}

/** @throws UserError CERTIFICATE_UNUSABLE, which says what is wrong with which file. */
export function readCertificate(files: CertificateFiles, now = new Date()): Certificate {
  const cert = readPem(files.cert, 'transport.tls.cert')
  const key = readPem(files.key, 'transport.tls.key')
  const x509 = parsed(files.cert, 'transport.tls.cert', 'it holds no certificate in PEM form', () => new X509Certificate(cert))
  const privateKey = parsed(files.key, 'transport.tls.key', 'it holds no private key in PEM form, or one with a passphrase', () =>
    createPrivateKey(key),
  )
  if (!x509.checkPrivateKey(privateKey))
    throw unusable(
      files.key,
      'transport.tls.key',
      `it is not the key of the certificate in ${files.cert}`,
      'name the two files that were made together; the certificate of the server itself has to come first in its file',
    )
  const [starts, expires] = [new Date(x509.validFrom), new Date(x509.validTo)]
  if (expires <= now) throw unusable(files.cert, 'transport.tls.cert', `it expired on ${day(expires)}`, 'renew it')
  if (starts > now)
    throw unusable(files.cert, 'transport.tls.cert', `it is valid from ${day(starts)} on`, "set this machine's clock, or wait")
  // What OpenSSL does not take for other reasons, such as a key that is too short.
  try {
    createSecureContext({ cert, key })
  } catch (error) {
    throw unusable(files.cert, 'transport.tls.cert', (error as Error).message, 'have a new certificate made', error)
  }
  return certificateOf(x509, { cert, key, expires })
}

/** A certificate that is read again when its files have changed. Until both fit together again the one before stays. */
export class WatchedCertificate {
  private seen: string
  private timer: NodeJS.Timeout | null = null
  readonly first: Certificate

  /** @throws UserError CERTIFICATE_UNUSABLE */
  constructor(private readonly files: CertificateFiles) {
    this.seen = this.stamp()
    this.first = readCertificate(files)
  }

  /**
   * Looks every second, until `close`.
   * @param onTrouble is told once of changed files that cannot be used; not of those that are just being replaced.
   */
  watch(onRenewed: (certificate: Certificate) => void, onTrouble: (error: UserError) => void): void {
    let trouble: UserError | null = null
    this.timer = setInterval(() => {
      const now = this.stamp()
      if (now === this.seen) {
        if (trouble) onTrouble(trouble)
        trouble = null
        return
      }
      this.seen = now
      try {
        onRenewed(readCertificate(this.files))
        trouble = null
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        trouble = error
      }
    }, LOOK_MS)
    this.timer.unref()
  }

  close(): void {
    if (this.timer) clearInterval(this.timer)
  }

  private stamp(): string {
    return `${stampOf(this.files.cert)} ${stampOf(this.files.key)}`
  }
}

function certificateOf(x509: X509Certificate, facts: Pick<Certificate, 'cert' | 'key' | 'expires'>): Certificate {
  return {
    ...facts,
    names: [...(x509.subjectAltName ?? '').matchAll(/(?:DNS|IP Address):([^,\s"]+)/g)].map(([, name]) => name),
    isSelfSigned: x509.subject === x509.issuer && x509.verify(x509.publicKey),
    covers: (host) => (isIP(host) ? x509.checkIP(host) : x509.checkHost(host)) !== undefined,
  }
}

function readPem(path: string, key: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code ?? message})`
    throw unusable(path, key, why, 'give the path of a PEM file that this user may read', error)
  }
}

function parsed<Thing extends X509Certificate | KeyObject>(path: string, key: string, why: string, parse: () => Thing): Thing {
  try {
    return parse()
  } catch (error) {
    throw unusable(path, key, why, 'give a PEM file; one with a passphrase has to be stored without it, for this user alone', error)
  }
}

function unusable(path: string, key: string, why: string, fix: string, cause?: unknown): UserError {
  return new UserError({ code: 'CERTIFICATE_UNUSABLE', what: `${key} names ${path}, which cannot be used`, why, fix }, { cause })
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10)
}
