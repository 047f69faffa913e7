/**
 * @file Whom a client in Node trusts to be its server, and what it finds out about one that it cannot speak to.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect as connectTls } from 'node:tls'
import { UserError } from '../shared/errors.js'
import type { ConnectOptions } from './socket.js'
import { speaksTls } from './tls-errors.js'

const PROBE_MS = 5000

/**
 * What `connect` needs beside the address.
 * @param caFile PEM certificates to trust in place of those that Node does; undefined: Node's, and NODE_EXTRA_CA_CERTS
 * @throws UserError BAD_ARGUMENT if there is no certificate in the file.
 */
export async function trust(caFile: string | undefined): Promise<Pick<ConnectOptions, 'ca' | 'diagnose'>> {
  return { diagnose, ...(caFile === undefined ? {} : { ca: await readAuthorities(caFile) }) }
}

async function readAuthorities(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw unusable(path, error.code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${error.code ?? error.message})`, error)
  })
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (certificates.length === 0) throw unusable(path, 'it holds no certificate in PEM form')
  for (const certificate of certificates)
    try {
      new X509Certificate(certificate)
    } catch (error) {
      throw unusable(path, 'a certificate in it is damaged', error)
    }
  return text
}

function unusable(path: string, why: string, cause?: unknown): UserError {
  return new UserError(
    { code: 'BAD_ARGUMENT', what: `--ca names ${path}, which cannot be used`, why, fix: 'give a PEM file with the certificate to trust' },
    { cause },
  )
}

/** A server that closes a plain connection without a word may speak TLS. Nothing is said to it but the handshake, and nothing it says is believed. */
async function diagnose(origin: string): Promise<UserError | null> {
  const { protocol, hostname, port } = new URL(origin)
  if (protocol !== 'http:' && protocol !== 'ws:') return null
  const host = hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve) => {
    const socket = connectTls({ host, port: Number(port || 80), rejectUnauthorized: false, timeout: PROBE_MS })
    const end = (answer: UserError | null) => (): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('secureConnect', end(speaksTls(origin)))
    socket.on('error', end(null))
    socket.once('timeout', end(null))
    socket.once('close', end(null))
  })
}
