import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChunkFields, type Chunk, type Closed, type Frames } from './frames.js'
import { DEFAULT_LIMITS, MIN_CHUNK_BYTES, type LinkLimits } from './limits.js'
import type { Traffic } from './link.js'
import { memoryLinkPair } from './memory-link.js'
import { ClientMessage, ServerMessage } from './messages.js'
import { packMessage } from './packing.js'
import { Session } from './session.js'
import { crc32 } from './crc32.js'
import { collect, sampleActivations, sampleDropped, sampleHello, sampleStep, stepsOf } from './testing/samples.js'

const SMALL: LinkLimits = { ...DEFAULT_LIMITS, maxChunkBytes: MIN_CHUNK_BYTES, maxMessageBytes: 64 * MIN_CHUNK_BYTES }

describe('a memory link', () => {
  test('delivers hello first, then every message as it was, in order, in both directions', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello(), limits: SMALL })
    const up = [sampleStep(0), sampleActivations(20_000), sampleStep(1)]
    const arriving = collect(server, 4)
    const leaving = collect(client, 1)
    await Promise.all([...up.map((message) => client.send(message)), server.send(sampleDropped(5))])
    expect(await arriving).toEqual([sampleHello(), ...up])
    expect(await leaving).toEqual([sampleDropped(5)])
  })

  test('delivers a copy, on a later turn', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello() })
    const message = sampleActivations(64)
    const arriving = collect(server, 2)
    const sent = client.send(message)
    message.hidden.bytes.fill(0)
    await sent
    expect((await arriving)[1]).toEqual(sampleActivations(64))
  })

  test('a listener that is set late gets what came before it', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello() })
    await client.send(sampleStep(3))
    await client.close('done')
    expect(stepsOf(await collect(server, 2))).toEqual([3])
    expect(await new Promise((resolve) => server.onClose((reason) => resolve(reason)))).toBe('done')
  })

  test('a message above the limit is refused by name and the link goes on', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello(), limits: SMALL })
    await expect(client.send(sampleActivations(SMALL.maxMessageBytes))).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE' })
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(server, 2))).toEqual([1])
  })

  test('is given up when the other end takes nothing in, before it fills the memory', async () => {
    const session = new Session({ side: 'server', schema: ClientMessage, limits: SMALL })
    session.attach({ send() {}, drop() {} }, session.held())
    const sending = Array.from({ length: 1000 }, (_, step) => session.send(sampleDropped(step)))
    const results = await Promise.allSettled(sending)
    expect(results.every(({ status }) => status === 'rejected')).toBe(true)
    expect(results[0]).toMatchObject({ reason: { code: 'CONNECTION_LOST', why: expect.stringContaining('does not take in') } })
  })

  test('what is not delivered when the link closes is rejected, with the error that closed it', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello(), limits: SMALL })
    const sent = client.send(sampleActivations(30_000))
    await server.close('the run is over')
    await expect(sent).rejects.toMatchObject({ code: 'CONNECTION_LOST', why: expect.stringContaining('the run is over') })
    await expect(client.send(sampleStep(1))).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  })

  test('a message that is held back is overtaken, and arrives when it is released', async () => {
    const { client, server, hold } = memoryLinkPair({ hello: sampleHello() })
    const arrived: number[] = []
    server.onMessage((message) => arrived.push(...stepsOf([message])))
    const held = hold((message) => message.type === 'step' && message.step === 1)
    for (const step of [0, 1, 2]) await client.send(sampleStep(step))
    await held.caught
    expect(arrived).toEqual([0, 2])
    held.release()
    await client.send(sampleStep(1))
    expect(arrived).toEqual([0, 2, 1, 1])
  })

  test('both ends count the same bytes for the same messages', async () => {
    const { client, server } = memoryLinkPair({ hello: sampleHello(), limits: SMALL })
    const counted = { client: [] as Traffic[], server: [] as Traffic[] }
    client.onTraffic((traffic) => counted.client.push(traffic))
    server.onTraffic((traffic) => counted.server.push(traffic))
    await client.send(sampleActivations(5000))
    await server.send(sampleDropped(0))
    expect(counted.server).toEqual(counted.client)
    expect(counted.client.map(({ direction, kind, payloadBytes }) => ({ direction, kind, payloadBytes }))).toEqual([
      { direction: 'up', kind: 'control', payloadBytes: 0 },
      { direction: 'up', kind: 'activations', payloadBytes: 5000 + 1 + 1 + 1 },
      { direction: 'down', kind: 'control', payloadBytes: 0 },
    ])
    for (const { payloadBytes, wireBytes } of counted.client) expect(wireBytes).toBeGreaterThan(payloadBytes)
  })
})

/** Two sessions on a connection that the test moves by hand and can break. */
function byHand() {
  const client = new Session<ClientMessage, ServerMessage>({ side: 'client', schema: ServerMessage, limits: SMALL })
  const server = new Session<ServerMessage, ClientMessage>({ side: 'server', schema: ClientMessage, limits: SMALL })
  const queue: { to: 'client' | 'server'; name: string; body: unknown }[] = []
  let drops = 0
  const wire = (to: 'client' | 'server') => ({
    send: <Name extends keyof Frames>(name: Name, body: Frames[Name]) => void queue.push({ to, name, body }),
    drop: () => void drops++,
  })
  return {
    client,
    server,
    queue,
    drops: () => drops,
    connect() {
      queue.length = 0
      client.detach()
      server.detach()
      const held = { client: client.held(), server: server.held() }
      server.attach(wire('client'), held.client)
      client.attach(wire('server'), held.server)
    },
    deliver() {
      const frame = queue.shift()
      if (frame) (frame.to === 'client' ? client : server).receive(frame.name, frame.body)
      return frame !== undefined
    },
  }
}

describe('a session', () => {
  test('delivers each message once and in order over any number of broken connections', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.boolean(), fc.constantFrom(4, 3000, 12_000)), { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(12), { maxLength: 8 }),
        async (sends, framesUntilBreak) => {
          const link = byHand()
          const up: number[] = []
          const down: number[] = []
          link.server.onMessage((message) => up.push(...stepsOf([message])))
          link.client.onMessage((message) => message.type === 'dropped' && down.push(message.step))
          link.connect()
          const promises = sends.map(([isUp, bytes], step) =>
            isUp ? link.client.send(sampleActivations(bytes, step)) : link.server.send(sampleDropped(step)),
          )
          for (const frames of framesUntilBreak) {
            for (let count = 0; count < frames; count++) link.deliver()
            link.connect()
          }
          while (link.deliver());
          await Promise.all(promises)
          const stepsWhere = (wanted: boolean): number[] => sends.flatMap(([isUp], step) => (isUp === wanted ? [step] : []))
          expect(up).toEqual(stepsWhere(true))
          expect(down).toEqual(stepsWhere(false))
        },
      ),
    )
  })

  test('an ill-formed message closes the link with MESSAGE_INVALID on both ends instead of arriving', async () => {
    const link = byHand()
    link.connect()
    const ends: unknown[] = []
    link.server.onMessage((message) => ends.push(message))
    link.server.onClose((_, error) => ends.push(error?.code))
    link.client.onClose((_, error) => ends.push(error?.code))
    const bytes = Uint8Array.from(packMessage({ ...sampleStep(1), tokens: -1 }, 'client'))
    const chunk = { message: 1, index: 0, count: 1, total_bytes: bytes.length, crc32: crc32(bytes), bytes }
    link.server.receive('chunk', ChunkFields.strip(chunk))
    const farewell = link.queue.at(-1)!
    expect((farewell.body as Closed).error?.why).toContain('tokens')
    while (link.deliver());
    expect(ends).toEqual(['MESSAGE_INVALID', 'MESSAGE_INVALID'])
  })

  test.each([
    ['a frame that does not exist', 'shout', {}],
    ['a chunk without bytes', 'chunk', [1, 0, 1, 1, 0]],
    ['a chunk of another kind of value', 'chunk', [1, 0, 1, 1, 0, 'text']],
    ['a chunk of the version before', 'chunk', { message: 1, index: 0, count: 1, total_bytes: 1, crc32: 0, bytes: Uint8Array.of(1) }],
    ['nothing', 'chunk', undefined],
    ['an acknowledgement of what was never sent', 'ack', [7, 1]],
    ['an acknowledgement with too many fields', 'ack', [1, 0, 0]],
  ])('%s closes the link with MESSAGE_INVALID', async (_, name, body) => {
    const link = byHand()
    link.connect()
    const closed = new Promise((resolve) => link.server.onClose((_reason, error) => resolve(error?.code)))
    link.server.receive(name, body)
    expect(await closed).toBe('MESSAGE_INVALID')
  })

  test('a chunk that arrives changed drops the connection; on the next one it goes through', async () => {
    const link = byHand()
    link.connect()
    const arriving = collect(link.server, 1)
    const sent = link.client.send(sampleStep(4))
    const chunk = link.queue.find(({ name }) => name === 'chunk')!
    chunk.body = ChunkFields.strip({ ...(ChunkFields.restore(chunk.body) as Chunk), crc32: 1 })
    while (link.deliver());
    expect(link.drops()).toBe(1)
    link.connect()
    while (link.deliver());
    await sent
    expect(stepsOf(await arriving)).toEqual([4])
  })

  test('a chunk that always arrives changed ends the link with TRANSFER_CORRUPT', async () => {
    const link = byHand()
    link.connect()
    const sent = link.client.send(sampleStep(4))
    for (let tries = 0; tries < 3; tries++) {
      const chunk = link.queue.find(({ name }) => name === 'chunk')!
      chunk.body = ChunkFields.strip({ ...(ChunkFields.restore(chunk.body) as Chunk), crc32: 1 })
      while (link.deliver());
      link.connect()
    }
    expect(link.server.isEnded).toBe(true)
    await expect(sent).rejects.toMatchObject({ code: 'TRANSFER_CORRUPT' })
  })
})
