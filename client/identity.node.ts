/**
 * @file What a client can show again when it was started anew: a secret of its own, so that it takes the place of its last process at once, and nobody else does.
 *
 * One random key lies in the state folder; what a server is shown is made of it for that server and that id alone. So no server learns what the client shows to
 * another.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, linkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stateFolder } from './moments.node.js'

const KEY_BYTES = 32

/**
 * HMAC-SHA256 of the server's origin and the id, with this machine's key; 64 hexadecimal digits. Source: RFC 2104.
 *
 * Where the state folder cannot be written the key is this process's own: then a client that was started anew waits until the server has given up its last
 * process.
 *
 * @param url of the server, as it was typed
 */
export function clientSecret(url: string, client: string, state: string = stateFolder()): string {
  const origin = URL.canParse(url) ? new URL(url).origin : url
  return createHmac('sha256', machineKey(state))
    .update(JSON.stringify([origin, client]))
    .digest('hex')
}

function machineKey(state: string): Buffer {
  const path = join(state, 'client-key')
  try {
    return readKey(path) ?? makeKey(state, path)
  } catch {
    return randomBytes(KEY_BYTES)
  }
}

function readKey(path: string): Buffer | null {
  try {
    const key = Buffer.from(readFileSync(path, 'latin1').trim(), 'hex')
    return key.length === KEY_BYTES ? key : null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Of several processes that start at once the first to have a whole file gives the key to all. */
function makeKey(state: string, path: string): Buffer {
  mkdirSync(state, { recursive: true, mode: 0o700 })
  const temporary = join(state, `.client-key.${process.pid}.${randomBytes(4).toString('hex')}.tmp`)
  try {
    writeFileSync(temporary, `${randomBytes(KEY_BYTES).toString('hex')}\n`, { mode: 0o600, flag: 'wx' })
    try {
      linkSync(temporary, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  } finally {
    rmSync(temporary, { force: true })
  }
  const key = readKey(path)
  if (!key) throw new Error(`${path} holds no key`)
  return key
}
