/**
 * @file The client in Python (shared/protocol/examples/client.py) against a real server. Left out, with the reason printed, where its packages are not installed.
 */
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { EdgeServer, parseConfig } from '../index.js'
import { PROTOCOL_VERSION } from '../shared/protocol/messages.js'
import type { RunEvent } from '../shared/run-records.js'
import { testAuthority } from '../server/testing/certificates.js'
import { changeStore } from '../server/tokens/store-file.js'
import { withNewToken } from '../server/tokens/store.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

const NOT_INSTALLED = 77
const TOKEN = 'a-long-random-word'
const CLIENT = fileURLToPath(new URL('../shared/protocol/examples/client.py', import.meta.url))

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  await writeFile(workshop.at('token'), `${TOKEN}\n`)
  await writeFile(workshop.at('other-token'), 'another-word\n')
  const authority = testAuthority()
  const { cert, key } = authority.issue(['127.0.0.1'])
  const created = await changeStore(workshop.at('tokens.json'), (store) => withNewToken(store, 'monty', { days: null, now: new Date() })!)
  const files = { 'ca.pem': authority.cert, 'cert.pem': cert, 'key.pem': key, 'monty.token': created.token }
  await Promise.all(Object.entries(files).map(([name, content]) => writeFile(workshop.at(name), content)))
})
afterAll(() => workshop.remove())

let server: EdgeServer
afterEach(() => server.stop())

interface Outcome {
  readonly status: number
  readonly told: Readonly<Record<string, unknown>>
}

/** null, with the reason printed, where its packages are not installed. */
async function python(...args: string[]): Promise<Outcome | null> {
  // OpenSSL's own variable: whom Python trusts in place of the system's authorities.
  const child = spawn('python3', [CLIENT, ...args], { env: { ...process.env, SSL_CERT_FILE: workshop.at('ca.pem') } })
  const ended = new Promise<number | null>((done) => child.on('error', () => done(null)).on('close', done))
  const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  if (status === null || status === NOT_INSTALLED) {
    console.log(`skipped: ${status === null ? 'python3 cannot be run here' : stderr.trim()}`)
    return null
  }
  if (stdout === '') throw new Error(stderr)
  return { status, told: JSON.parse(stdout) as Outcome['told'] }
}

async function start(transport: object = {}): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  const config = parseConfig({
    model: { model_name_or_path: workshop.at('model'), engine: 'reference' },
    data: { path: workshop.at('rows.jsonl'), max_length: 32 },
    federation: { num_clients: 2, num_rounds: 3 },
    transport,
    output: { output_dir: workshop.at('runs') },
  })
  server = await EdgeServer.start(config, { watcher: { event: (event) => void events.push(event) } })
  return events
}

const named = (events: readonly RunEvent[]) => events.map(({ event, client }) => `${event} ${client}`)

test.each([
  ['in one chunk', {}],
  ['in several chunks', { max_chunk_bytes: 1024 }],
])('a client in Python joins, is welcomed %s, and leaves', async (_, transport) => {
  const events = await start({ token_file: workshop.at('token'), ...transport })
  const outcome = await python(server.url, 'monty', '--token-file', workshop.at('token'))
  if (!outcome) return
  expect(outcome).toMatchObject({
    status: 0,
    told: { welcome: { protocol: PROTOCOL_VERSION, rounds: 3, family: 'gpt2', layers: 4, part: null } },
  })
  expect(named(events)).toEqual(['join monty', 'leave monty'])
})

test('a client in Python joins with its own token over TLS, and nobody else does with it', async () => {
  const tls = { cert: workshop.at('cert.pem'), key: workshop.at('key.pem') }
  const events = await start({ tls, token_file: workshop.at('tokens.json') })
  expect(server.url).toMatch(/^https:/)
  const refused = await python(server.url, 'terry', '--token-file', workshop.at('monty.token'))
  const welcomed = await python(server.url, 'monty', '--token-file', workshop.at('monty.token'))
  if (!refused || !welcomed) return
  expect(refused).toMatchObject({ status: 3, told: { refused: { code: 'TOKEN_REFUSED', why: 'its token is not that of terry' } } })
  expect(welcomed).toMatchObject({ status: 0, told: { welcome: { protocol: PROTOCOL_VERSION } } })
  const ofClients = events.filter(({ event }) => event !== 'warning') // of a certificate that ends tomorrow
  expect(named(ofClients)).toEqual(['refused terry', 'join monty', 'leave monty'])
})

test.each([
  ['another token', 'TOKEN_REFUSED', ['--token-file', 'other-token'], 'its token is not that of this server'],
  ['no token', 'TOKEN_REFUSED', [], 'it showed no token, and this server asks for one'],
  [
    'another version',
    'PROTOCOL_VERSION_DIFFERS',
    ['--token-file', 'token', '--protocol', '1'],
    `the client speaks version 1, and the server version ${PROTOCOL_VERSION}`,
  ],
])('a client in Python with %s is refused by name', async (_, code, args, why) => {
  const events = await start({ token_file: workshop.at('token') })
  const outcome = await python(
    server.url,
    'monty',
    ...args.map((arg) => (!arg.startsWith('-') && arg.endsWith('token') ? workshop.at(arg) : arg)),
  )
  if (!outcome) return
  expect(outcome).toEqual({ status: 3, told: { refused: expect.objectContaining({ code, why }) } })
  expect(named(events)).not.toContain('join monty')
})
