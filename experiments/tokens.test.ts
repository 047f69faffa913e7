/**
 * @file A token for each client, and who may listen where: real servers and clients over sockets.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Client, EdgeServer, parseConfig, type ClientOptions, type Config, type EdgeServerOptions } from '../index.js'
import { helloOf } from '../client/join.js'
import { connect } from '../client/socket.js'
import { testAuthority } from '../server/testing/certificates.js'
import { changeStore } from '../server/tokens/store-file.js'
import { withNewToken, withRevoked } from '../server/tokens/store.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import type { RunEvent } from '../shared/run-records.js'
import { tcpProxy } from './testing/tcp-proxy.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.env.CUTLAYER_STATE = workshop.at('state')
  const authority = testAuthority()
  const { cert, key } = authority.issue(['edge.example', '127.0.0.1'])
  await Promise.all(
    Object.entries({ 'ca.pem': authority.cert, 'cert.pem': cert, 'key.pem': key }).map(([name, pem]) => writeFile(workshop.at(name), pem)),
  )
})
afterAll(() => workshop.remove())

const servers: EdgeServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
  await rm(workshop.at('tokens.json'), { force: true })
})

const TLS = () => ({ cert: workshop.at('cert.pem'), key: workshop.at('key.pem') })
const store = (): string => workshop.at('tokens.json')

/** Makes a token, and writes it where its client finds it. */
async function createToken(id: string, { days = null as number | null, now = new Date() } = {}): Promise<string> {
  const { token } = await changeStore(store(), (before) => withNewToken(before, id, { days, now })!)
  await writeFile(workshop.at(`${id}.token`), `${token}\n`)
  return token
}

const revoke = (id: string) => changeStore(store(), (before) => ({ store: withRevoked(before, id, new Date())! }))

function configOf(transport: object, federation: object = {}): Config {
  return parseConfig({
    model: { model_name_or_path: workshop.at('model'), engine: 'reference' },
    lora: { r: 2, target_modules: ['c_attn'] },
    data: { path: workshop.at('rows.jsonl'), max_length: 32 },
    train: { per_device_train_batch_size: 2 },
    federation: { num_clients: 2, num_rounds: 2, local_steps: 2, ...federation },
    transport,
    output: { output_dir: workshop.at('runs') },
  })
}

interface Started {
  readonly server: EdgeServer
  readonly events: RunEvent[]
  /** Resolves with the first event, past or to come, of that kind and client. */
  event(name: string, client?: string): Promise<RunEvent>
}

async function start(transport: object, federation: object = {}, options: EdgeServerOptions = {}): Promise<Started> {
  const events: RunEvent[] = []
  const waiting = new Set<() => void>()
  const event = (heard: RunEvent): void => {
    events.push(heard)
    for (const look of [...waiting]) look()
  }
  const server = await EdgeServer.start(configOf(transport, federation), { ...options, watcher: { event } })
  servers.push(server)
  return {
    server,
    events,
    event: (name, client) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = events.find((one) => one.event === name && (client === undefined || one.client === client))
          if (!found) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      }),
  }
}

const joinAs = (url: string, id: string, options: Partial<ClientOptions> = {}): Promise<Client> => {
  const data = Array.from({ length: 6 }, (_, row) => ({ text: `${id} ${row}` }))
  return Client.join(url, {
    id,
    data,
    model: workshop.at('model'),
    engine: 'reference',
    threads: 1,
    tokenFile: workshop.at(`${id}.token`),
    ...options,
  })
}

/** What a client's run ended with; null: all went well. */
async function endOf(joining: Promise<Client>): Promise<unknown> {
  return joining
    .then(({ finished }) => finished)
    .then(
      () => null,
      (error: unknown) => error,
    )
}

const refused = (why: string) => expect.objectContaining({ code: 'TOKEN_REFUSED', why: expect.stringContaining(why) as string }) as unknown

describe('with a token for each client', () => {
  test('those who show their own train to the end, over TLS, at an address that others reach', async () => {
    const tokens = [await createToken('ada'), await createToken('bob', { days: 1 })]
    const { server, event } = await start({ tls: TLS(), token_file: store() }, {}, { host: '0.0.0.0' })
    expect(await event('warning')).toMatchObject({ reason: expect.stringContaining('the certificate expires on ') as string })
    expect(server.url).toMatch(/^https:\/\/edge\.example:\d+$/)
    const url = server.url.replace('edge.example', '127.0.0.1')
    const ends = await Promise.all(['ada', 'bob'].map((id) => endOf(joinAs(url, id, { ca: workshop.at('ca.pem') }))))
    expect(ends).toEqual([null, null])
    const { run_dir, rounds } = await server.finished
    expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2])
    for (const entry of await readdir(run_dir, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) {
        const content = await readFile(join(entry.parentPath, entry.name), 'latin1')
        for (const token of tokens) expect(content).not.toContain(token)
      }
  })

  test('those who show none, another’s, one that expired or was revoked, or whom nobody knows are refused by name, and stand in the events', async () => {
    await createToken('ada')
    await createToken('bob', { days: 1, now: new Date('2026-01-01') })
    await createToken('eve')
    await revoke('eve')
    await writeFile(workshop.at('mal.token'), 'guess')
    const { server, events } = await start({ token_file: store() })
    const outcomes = [
      await endOf(joinAs(server.url, 'bob', { tokenFile: workshop.at('ada.token') })),
      await endOf(joinAs(server.url, 'bob')),
      await endOf(joinAs(server.url, 'eve')),
      await endOf(joinAs(server.url, 'mal')),
      await endOf(Client.join(server.url, { id: 'ada', data: [{ text: 'x' }] })),
    ]
    expect(outcomes).toEqual([
      refused('its token is not that of bob'),
      refused('its token expired on 2026-01-02'),
      refused('its token was revoked on 2'),
      refused('its token is not that of mal'),
      refused('it showed no token'),
    ])
    expect(events.map(({ event, client }) => `${event} ${client}`)).toEqual(
      ['bob', 'bob', 'eve', 'mal', 'ada'].map((id) => `refused ${id}`),
    )
  })

  test('one whose token is revoked while it trains is told and put out, cannot come back, and may with a new one', async () => {
    await createToken('ada')
    await createToken('bob')
    const { server, event, events } = await start({ token_file: store() }, { num_rounds: 10_000, min_available_clients: 1 })
    const bob = endOf(joinAs(server.url, 'bob'))
    const ada = await joinAs(server.url, 'ada')
    await event('join', 'bob')
    await revoke('bob')
    expect(await bob).toEqual(refused('its token was revoked on 2'))
    expect(await event('leave', 'bob')).toMatchObject({ reason: expect.stringContaining('revoked') as string })
    expect(await endOf(joinAs(server.url, 'bob'))).toEqual(refused('was revoked'))
    await createToken('bob')
    const again = await joinAs(server.url, 'bob')
    expect(events.filter((one) => one.event === 'join').map(({ client }) => client)).toContain('bob')
    await again.leave()
    await ada.leave()
  })

  test('one whose token expires while it trains is put out', async () => {
    await createToken('ada')
    await createToken('bob')
    const { server, event } = await start({ token_file: store() }, { num_rounds: 10_000, min_available_clients: 1 })
    const bob = endOf(joinAs(server.url, 'bob'))
    const ada = await joinAs(server.url, 'ada')
    await event('join', 'bob')
    const soon = new Date(Date.now() + 1500).toISOString()
    await changeStore(store(), (before) => ({
      store: { ...before, tokens: before.tokens.map((entry) => (entry.id === 'bob' ? { ...entry, expires: soon } : entry)) },
    }))
    expect(await bob).toEqual(refused('its token expired on 2'))
    await ada.leave()
  })

  test('its token alone takes an id over: from anywhere, at once, and from nobody else', async () => {
    await createToken('ada')
    await createToken('bob')
    const { server, event } = await start({ token_file: store() }, { num_rounds: 10_000, min_available_clients: 1 })
    const first = endOf(joinAs(server.url, 'ada'))
    await event('join', 'ada')
    expect(await endOf(joinAs(server.url, 'ada', { tokenFile: workshop.at('bob.token') }))).toEqual(refused('is not that of ada'))
    // Another machine has another state folder.
    process.env.CUTLAYER_STATE = workshop.at('elsewhere')
    const second = await joinAs(server.url, 'ada')
    process.env.CUTLAYER_STATE = workshop.at('state')
    expect(await first).toMatchObject({ code: 'CLIENT_ID_IN_USE', why: 'the same client joined again, as a new process' })
    await second.leave()
  })

  test('a file that is spoilt while the server runs is told once, and changes nothing', async () => {
    await createToken('ada')
    const { server, event, events } = await start({ token_file: store() }, { num_rounds: 10_000, min_available_clients: 1, num_clients: 1 })
    const ada = await joinAs(server.url, 'ada')
    await writeFile(store(), '{')
    expect(await event('warning')).toMatchObject({
      reason: expect.stringContaining('the tokens as they were before stay in force') as string,
    })
    const again = await joinAs(server.url, 'ada')
    expect(events.filter(({ event: name }) => name === 'warning')).toHaveLength(1)
    await again.leave()
    await ada.finished.catch(() => {})
  })
})

describe('with a token that all share', () => {
  test('a stranger cannot push a client out, and the same client, started again, takes its place at once', async () => {
    await writeFile(workshop.at('ada.token'), 'known-to-all')
    const { server, event, events } = await start(
      { token_file: workshop.at('ada.token') },
      { num_rounds: 10_000, min_available_clients: 1 },
    )
    const first = endOf(joinAs(server.url, 'ada'))
    await event('join', 'ada')
    process.env.CUTLAYER_STATE = workshop.at('elsewhere')
    expect(await endOf(joinAs(server.url, 'ada'))).toMatchObject({ code: 'CLIENT_ID_IN_USE', what: 'client ada cannot join' })
    process.env.CUTLAYER_STATE = workshop.at('state')
    expect(events.filter(({ event: name }) => name === 'leave')).toEqual([])
    const again = await joinAs(server.url, 'ada')
    expect(await first).toMatchObject({ code: 'CLIENT_ID_IN_USE', what: 'client ada is out of the run' })
    await again.leave()
  })
})

describe('while the connection of a client is broken', () => {
  const hello = (secret: string): MessageOf<'hello'> =>
    helloOf({ client: 'ada', token: null, secret, part: null, ownData: true, engine: 'none', software: 'test' })

  /** Joins over a connection that then breaks, and stays so. */
  async function absent(federation: object) {
    const { server, event } = await start({}, { ...federation, min_available_clients: 2 })
    const proxy = await tcpProxy(Number(new URL(server.url).port))
    const link = await connect({ url: `http://127.0.0.1:${proxy.port}`, hello: () => hello('its own') })
    await event('join', 'ada')
    proxy.shut()
    await event('connection-lost', 'ada')
    const end = async (): Promise<void> => {
      await link.close('the test is over')
      await proxy.close()
    }
    return { url: server.url, event, end }
  }

  test('nobody else takes its id, and it does itself as a new process', async () => {
    const { url, end } = await absent({ reconnect_s: 3600 })
    await expect(connect({ url, hello: () => hello('of a stranger') })).rejects.toMatchObject({ code: 'CLIENT_ID_IN_USE' })
    await (await connect({ url, hello: () => hello('its own') })).close('the test is over')
    await end()
  })

  test('its id is free once the server has given it up', async () => {
    const { url, event, end } = await absent({ reconnect_s: 0.3 })
    expect(await event('leave', 'ada')).toMatchObject({ reason: 'nothing was heard of it for 0.3 s' })
    await (await connect({ url, hello: () => hello('of a stranger') })).close('the test is over')
    await end()
  })
})

describe('an address that other machines reach', () => {
  const bind = (transport: object, options: EdgeServerOptions = {}) => start(transport, {}, { host: '0.0.0.0', ...options })

  test.each<[string, () => object, string[], string]>([
    [
      'neither TLS nor tokens',
      () => ({}),
      ['not encrypted', 'no token is asked for'],
      'set transport.tls and transport.token_file in the config',
    ],
    ['no tokens', () => ({ tls: TLS() }), ['no token is asked for'], 'set transport.token_file in the config'],
    ['no TLS', () => ({ token_file: workshop.at('ca.pem') }), ['not encrypted'], 'set transport.tls in the config'],
  ])('is refused with %s', async (_, transport, why, fix) => {
    const outcome = await bind(transport()).catch((error: unknown) => error)
    expect(outcome).toMatchObject({ code: 'INSECURE_BIND', fix: expect.stringContaining(fix) as string })
    const said = (outcome as { why: string }).why
    expect(['not encrypted', 'no token is asked for'].filter((words) => said.includes(words))).toEqual(why)
  })

  test('is taken without either by who says so', async () => {
    const { server } = await bind({}, { insecure: true, names: ['edge.example'] })
    expect(server.url).toMatch(/^http:\/\/edge\.example:\d+$/)
  })
})
