import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { connect, type ConnectOptions } from '../client/socket.js'
import { listen, type LinkInfo, type Listening, type ListenOptions } from '../server/socket.js'
import { UserError } from '../shared/errors.js'
import { frameBytes } from '../shared/protocol/frames.js'
import { DEFAULT_LIMITS, type LinkLimits } from '../shared/protocol/limits.js'
import type { ClientLink, ServerLink, Traffic } from '../shared/protocol/link.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { ClientMessage, ServerMessage } from '../shared/protocol/messages.js'
import { pack } from '../shared/protocol/msgpack.js'
import { encodePacket } from '../shared/protocol/parser.js'
import { collect, sampleActivations, sampleDropped, sampleHello, sampleStep, stepsOf } from '../shared/protocol/testing/samples.js'
import { rawWebSocket } from './testing/raw-websocket.js'
import { tcpProxy, type TcpProxy } from './testing/tcp-proxy.js'

const MIB = 2 ** 20

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

interface Accepted {
  readonly link: ServerLink
  readonly info: LinkInfo
}

/** A server on a free port, and the links it gets, each to be awaited. */
async function startServer(options: Partial<ListenOptions> = {}) {
  const links: Accepted[] = []
  const waiting: ((accepted: Accepted) => void)[] = []
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    clients: 4,
    onLink(link, info) {
      const take = waiting.shift()
      if (take) take({ link, info })
      else links.push({ link, info })
    },
    ...options,
  })
  cleanUps.push(() => server.close('test over'))
  const nextLink = (): Promise<Accepted> => {
    const ready = links.shift()
    return ready ? Promise.resolve(ready) : new Promise((resolve) => waiting.push(resolve))
  }
  return { server, nextLink, unclaimed: links }
}

async function startClient(port: number, options: Partial<ConnectOptions> = {}): Promise<ClientLink> {
  const link = await connect({ url: `http://127.0.0.1:${port}`, hello: () => sampleHello(), ...options })
  cleanUps.push(() => link.close('test over'))
  return link
}

async function startProxy(server: Listening): Promise<TcpProxy> {
  const proxy = await tcpProxy(server.port)
  cleanUps.push(() => proxy.close())
  return proxy
}

function closing(link: ClientLink | ServerLink): Promise<{ reason: string; error: UserError | null }> {
  return new Promise((resolve) => link.onClose((reason, error) => resolve({ reason, error })))
}

function withLimits(limits: Partial<LinkLimits>): { limits: LinkLimits } {
  return { limits: { ...DEFAULT_LIMITS, ...limits } }
}

/** Comparing 5 MiB element by element takes seconds; as buffers, nothing. */
function expectSameTensor(received: ClientMessage | ServerMessage, sent: ReturnType<typeof sampleActivations>): void {
  if (received.type !== 'activations') throw new Error(`got ${received.type}`)
  expect(Buffer.compare(received.hidden.bytes, sent.hidden.bytes)).toBe(0)
  const without = { ...sent, hidden: null }
  expect({ ...received, hidden: null }).toEqual(without)
}

describe('a link over sockets', () => {
  test('hello comes first, then messages in both directions, then the farewell with its reason', async () => {
    const { server, nextLink } = await startServer()
    const client = await startClient(server.port)
    const { link, info } = await nextLink()
    expect(info.client).toBe('client-0')
    const arriving = collect(link, 3)
    const leaving = collect(client, 1)
    await client.send(sampleStep(0))
    await Promise.all([client.send(sampleActivations(400)), link.send(sampleDropped(1))])
    expect(await arriving).toEqual([sampleHello(), sampleStep(0), sampleActivations(400)])
    expect(await leaving).toEqual([sampleDropped(1)])
    const closed = closing(client)
    await link.close('finished')
    expect(await closed).toEqual({ reason: 'finished', error: null })
  })

  test('a 5 MiB message goes through in chunks', async () => {
    const { server, nextLink } = await startServer(withLimits({ maxChunkBytes: MIB }))
    const client = await startClient(server.port)
    const { link } = await nextLink()
    const sent = sampleActivations(5 * MIB)
    const [arrived] = await Promise.all([collect(link, 2), client.send(sent)])
    expectSameTensor(arrived[1]!, sent)
  })

  test('a message above the limit is refused by name before it is sent, and the link goes on', async () => {
    const { server, nextLink } = await startServer(withLimits({ maxChunkBytes: 65536, maxMessageBytes: MIB }))
    const client = await startClient(server.port)
    const { link } = await nextLink()
    await expect(client.send(sampleActivations(MIB))).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE' })
    await client.send(sampleStep(7))
    expect(stepsOf(await collect(link, 2))).toEqual([7])
  })

  test('two links of one client id are told apart: a new process is a new link', async () => {
    const { server, nextLink } = await startServer()
    await startClient(server.port)
    const first = await nextLink()
    await startClient(server.port)
    const second = await nextLink()
    expect(second.link).not.toBe(first.link)
    expect(second.info.client).toBe(first.info.client)
  })

  test('an error that closes the link reaches the other end with its code', async () => {
    const { server, nextLink } = await startServer()
    const client = await startClient(server.port)
    const { link } = await nextLink()
    const atServer = closing(link)
    const atClient = closing(client)
    // What TypeScript would not let through, another program may send.
    await expect(client.send({ ...sampleStep(1), tokens: -1 })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
    expect((await atServer).error?.code).toBe('MESSAGE_INVALID')
    expect((await atClient).error?.why).toContain('tokens')
  })
})

describe('a broken connection', () => {
  test('in the middle of a transfer: it goes on where it stopped, and nothing is doubled or lost', async () => {
    const states: string[] = []
    const { server, nextLink, unclaimed } = await startServer({ onConnection: (_client, _link, state) => states.push(state) })
    const proxy = await startProxy(server)
    const client = await startClient(proxy.port)
    const { link } = await nextLink()
    await client.send(sampleStep(0))
    const before = proxy.bytes.up
    proxy.cutAfter(3.5 * MIB)
    const sent = sampleActivations(5 * MIB)
    const [arrived] = await Promise.all([collect(link, 4), client.send(sent), client.send(sampleStep(2))])
    expect(arrived[1]).toEqual(sampleStep(0))
    expectSameTensor(arrived[2]!, sent)
    expect(arrived[3]).toEqual(sampleStep(2))
    expect(proxy.connections()).toBe(2)
    expect(states).toEqual(['lost', 'back'])
    expect(unclaimed).toEqual([])
    // 3 MiB were held, so 2 MiB were left to send.
    expect(proxy.bytes.up - before).toBeLessThan((3.5 + 2.1) * MIB)
  })

  test('while both send: everything comes once and in order, and what was not acknowledged is sent again', async () => {
    const { server, nextLink } = await startServer(withLimits({ maxChunkBytes: 4096 }))
    const proxy = await startProxy(server)
    const client = await startClient(proxy.port)
    const { link } = await nextLink()
    const count = 60
    const up = collect(link, count + 1)
    const down = collect(client, count)
    const sends: Promise<void>[] = []
    for (let step = 0; step < count; step++) {
      if (step % 20 === 10) proxy.cutAfter(15_000)
      sends.push(client.send(sampleActivations(6000, step)), link.send(sampleDropped(step)))
      if (step % 20 === 19) await Promise.all(sends)
    }
    const expected = Array.from({ length: count }, (_, step) => step)
    expect(stepsOf(await up)).toEqual(expected)
    expect((await down).map((message) => message.type === 'dropped' && message.step)).toEqual(expected)
    await Promise.all(sends)
    expect(proxy.connections()).toBeGreaterThan(1)
  })

  test('for longer than the reconnect time: both ends close with CONNECTION_LOST', async () => {
    const { server, nextLink } = await startServer(withLimits({ reconnectSeconds: 0.3, heartbeatSeconds: 0.1 }))
    const proxy = await startProxy(server)
    const client = await startClient(proxy.port)
    const { link } = await nextLink()
    const closed = [closing(client), closing(link)]
    proxy.shut()
    const lost = client.send(sampleStep(0))
    await expect(lost).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
    for (const { error } of await Promise.all(closed)) expect(error?.code).toBe('CONNECTION_LOST')
  })

  test('while the client lost its permission: it cannot go on with its link, and the link waits for nobody else', async () => {
    const asked: boolean[] = []
    let isRevoked = false
    const first = await startServer({
      screen(_, isBack) {
        asked.push(isBack)
        if (isRevoked) throw new UserError({ code: 'TOKEN_REFUSED', what: 'no', why: 'its token was revoked', fix: 'none' })
      },
    })
    const proxy = await startProxy(first.server)
    const client = await startClient(proxy.port)
    const closed = closing(client)
    proxy.shut()
    isRevoked = true
    proxy.open()
    expect((await closed).error).toMatchObject({ code: 'TOKEN_REFUSED', why: 'its token was revoked' })
    expect(asked).toEqual([false, true])
  })

  test('of a server that was started again: the client is told that its link is unknown', async () => {
    const first = await startServer()
    const proxy = await startProxy(first.server)
    const states: string[] = []
    const client = await startClient(proxy.port, { onState: (state) => states.push(state) })
    const closed = closing(client)
    proxy.shut()
    // The session ends at the server while the client is away.
    await (await first.nextLink()).link.close('started again')
    proxy.open()
    const { error } = await closed
    expect(error).toMatchObject({ code: 'CONNECTION_LOST', why: expect.stringContaining('does not know the link') })
    expect(states).toEqual(['connected', 'reconnecting'])
  })
})

test('a client that falls silent on an open connection is lost', async () => {
  const { server, nextLink } = await startServer(withLimits({ reconnectSeconds: 0.3, heartbeatSeconds: 0.1 }))
  // Says hello and nothing more, not even heartbeats.
  const silent = await rawWebSocket(server.port)
  silent.send(encodePacket({ type: 0, nsp: '/' }))
  silent.send(
    encodePacket({
      type: 2,
      nsp: '/',
      data: ['hello', { session: 'a'.repeat(32), held: { message: 1, chunks: 0 }, hello: sampleHello() }],
    }),
  )
  const { link } = await nextLink()
  expect((await closing(link)).error).toMatchObject({ code: 'CONNECTION_LOST', why: expect.stringContaining('nothing was heard') })
  await silent.closed
})

test('a client that only sends heartbeats stays', async () => {
  const { server, nextLink } = await startServer(withLimits({ reconnectSeconds: 0.4, heartbeatSeconds: 0.05 }))
  const proxy = await startProxy(server)
  const client = await startClient(proxy.port)
  const { link } = await nextLink()
  const arriving = collect(link, 2)
  // So many take longer than the silence that would lose the client.
  const heartbeats = 20
  await proxy.passed(heartbeats * frameBytes('heartbeat', { type: 'heartbeat' }, 'client'))
  await client.send(sampleStep(1))
  expect(stepsOf(await arriving)).toEqual([1])
  expect(proxy.connections()).toBe(1)
})

describe('garbage', () => {
  const connected = async (port: number) => {
    const socket = await rawWebSocket(port)
    socket.send(encodePacket({ type: 0, nsp: '/' }))
    return socket
  }
  const event = (...data: unknown[]): Uint8Array => encodePacket({ type: 2, nsp: '/', data })

  test.each([
    ["a packet of socket.io's own parser", false, '40{"token":"x"}'],
    ['text', false, '4hello'],
    ['random bytes', false, Uint8Array.of(0xc1, 1, 2, 3)],
    ['an array of four billion', false, Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
    ['a prototype', false, pack(JSON.parse('{"type":0,"nsp":"/","data":{"__proto__":{"x":1}}}'))],
    ['a namespace that does not exist', false, encodePacket({ type: 2, nsp: '/admin', data: ['hello', {}] })],
    ['a frame before hello', true, event('chunk', {})],
    ['a hello that is none', true, event('hello', { session: 'x' })],
    ['a hello of another form', true, event('hello', [])],
    ['an event that socket.io emits itself', true, event('disconnect', 'x')],
    ['a packet that is too long', false, encodePacket({ type: 0, nsp: '/', data: { token: new Uint8Array(2 * MIB) } })],
  ])('%s closes that connection and no other', async (_, isConnected, payload) => {
    const { server, nextLink } = await startServer()
    const client = await startClient(server.port)
    const { link } = await nextLink()
    const vandal = isConnected ? await connected(server.port) : await rawWebSocket(server.port)
    vandal.send(payload)
    await vandal.closed
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(link, 2))).toEqual([1])
  })

  test('a connection that says nothing is closed', async () => {
    const { server } = await startServer({ helloSeconds: 0.1 })
    const mute = await rawWebSocket(server.port)
    await mute.closed
    const muteInNamespace = await connected(server.port)
    await muteInNamespace.closed
  })

  test('connections that say nothing make room for others, the oldest first, and never in place of a client', async () => {
    const { server, nextLink } = await startServer({ clients: 1 })
    const client = await startClient(server.port)
    const { link } = await nextLink()
    const oldest = await rawWebSocket(server.port)
    await Promise.all(Array.from({ length: 68 }, () => rawWebSocket(server.port)))
    await oldest.closed
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(link, 2))).toEqual([1])
  })

  test('a hello that is screened out gets its reason, and no link', async () => {
    const { server, unclaimed } = await startServer({
      screen() {
        throw new UserError({ code: 'TOKEN_REFUSED', what: 'no', why: 'it is another token', fix: 'none' })
      },
    })
    await expect(startClient(server.port)).rejects.toMatchObject({ code: 'TOKEN_REFUSED', why: 'it is another token' })
    expect(unclaimed).toEqual([])
  })

  test('a page of another origin cannot connect', async () => {
    const { server } = await startServer()
    await expect(rawWebSocket(server.port, ['Origin: https://evil.example'])).rejects.toThrow(/403|400/)
    await rawWebSocket(server.port, [`Origin: http://127.0.0.1:${server.port}`])
  })

  test('a stranger who knows a session but not its token is turned away, and its owner is not disturbed', async () => {
    const { server, nextLink } = await startServer()
    const owner = await connected(server.port)
    const session = 'b'.repeat(32)
    const held = { message: 1, chunks: 0 }
    owner.send(event('hello', { session, held, hello: sampleHello('client-0', 'secret') }))
    const { link } = await nextLink()
    const stranger = await connected(server.port)
    stranger.send(event('hello', { session, held, hello: { ...sampleHello('client-0', 'guess'), resume: true } }))
    await stranger.closed
    owner.send(event('heartbeat', {}))
    await expect(Promise.race([closing(link), Promise.resolve('open')])).resolves.toBe('open')
  })
})

describe('what cannot work is named', () => {
  test('a client of another protocol version', async () => {
    const { server } = await startServer()
    const connecting = startClient(server.port, { hello: () => ({ ...sampleHello(), protocol: 999 }) })
    await expect(connecting).rejects.toMatchObject({ code: 'PROTOCOL_VERSION_DIFFERS', why: expect.stringContaining('999') })
  })

  test('a port in use', async () => {
    const { server } = await startServer()
    await expect(listen({ host: '127.0.0.1', port: server.port, clients: 1, onLink() {} })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      what: expect.stringContaining(String(server.port)),
    })
  })

  test('an address that is not of this machine', async () => {
    await expect(listen({ host: '192.0.2.1', port: 0, clients: 1, onLink() {} })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' })
  })

  test('a server that is not there', async () => {
    const { server } = await startServer()
    await server.close('gone')
    await expect(startClient(server.port, { connectSeconds: 0.3 })).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      what: expect.stringContaining(`http://127.0.0.1:${server.port}`),
      why: expect.stringContaining('ECONNREFUSED'),
    })
  })

  test('a server of another kind', async () => {
    const other = createServer((socket) => void socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n'))
    cleanUps.push(() => other.close())
    other.listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    await expect(startClient(port, { connectSeconds: 0.3 })).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      why: expect.stringContaining('404'),
    })
  })

  test.each(['not a url', 'ftp://127.0.0.1', 'http://127.0.0.1:1/runs'])('"%s" is not an address', async (url) => {
    await expect(async () => connect({ url, hello: () => sampleHello() })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' })
  })
})

describe('counted bytes', () => {
  const dialogue = async (client: ClientLink, server: ServerLink): Promise<void> => {
    for (const bytes of [4, 100, 60_000, 70_000, 300_000]) {
      await client.send(sampleActivations(bytes))
      await server.send({
        type: 'gradients',
        round: 1,
        attempt: 0,
        step: 0,
        micro: 0,
        hidden: { codec: 'fp16', shape: [1, bytes / 2], bytes: new Uint8Array(bytes + 2) },
        rows: new Uint8Array(0),
        nll: 0.5,
        tokens: 1,
      })
      await client.send(sampleStep(1))
    }
  }
  const limits = { ...DEFAULT_LIMITS, maxChunkBytes: 65_536, heartbeatSeconds: 3600 }

  test('are those that a TCP proxy sees, to the byte', async () => {
    const { server, nextLink } = await startServer({ limits })
    const proxy = await startProxy(server)
    const client = await startClient(proxy.port)
    const { link } = await nextLink()
    const counted: Traffic[] = []
    // Set-up is over once a message has gone each way; the ledger leaves upgrade, connect packets and `attached` out.
    await client.send(sampleStep(0))
    await link.send(sampleDropped(0))
    const before = { ...proxy.bytes }
    link.onTraffic((traffic) => counted.push(traffic))
    const early = counted.length
    await dialogue(client, link)
    const wireBytes = counted.slice(early).reduce((sum, traffic) => sum + traffic.wireBytes, 0)
    expect(wireBytes).toBe(proxy.bytes.up - before.up + proxy.bytes.down - before.down)
  })

  test('are the same over memory and over sockets, on both ends', async () => {
    const { server, nextLink } = await startServer({ limits })
    const client = await startClient(server.port)
    const { link } = await nextLink()
    const pair = memoryLinkPair({ hello: sampleHello(), limits })
    const ends = [client, link, pair.client, pair.server].map((end) => {
      const counted: Traffic[] = []
      end.onTraffic((traffic: Traffic) => counted.push(traffic))
      return counted
    })
    await dialogue(client, link)
    await dialogue(pair.client, pair.server)
    expect(ends[0]).toHaveLength(16)
    for (const counted of ends.slice(1)) expect(counted).toEqual(ends[0])
  })
})
