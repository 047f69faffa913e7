import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { UserError } from '../errors.js'
import { pack, unpack } from './msgpack.js'
import { Decoder, decodePacket, encodePacket, Encoder, PacketType, type Packet } from './parser.js'

const hex = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

/** Everything that a message may hold. -0 is left out: as an integer it travels as 0. */
const plain = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
  ),
  value: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('value')),
    fc.dictionary(
      fc.string().filter((key) => key !== '__proto__'),
      tie('value'),
      { noNullPrototype: true },
    ),
  ),
})).value

describe('msgpack', () => {
  test('plain data comes back as it was', () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(unpack(pack(value))).toEqual(value)
      }),
    )
  })

  test('random bytes give plain data or a UserError, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          unpack(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('a message with a few bytes changed gives plain data or a UserError', () => {
    fc.assert(
      fc.property(plain, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }), (value, changes) => {
        const bytes = Uint8Array.from(pack(value))
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        try {
          unpack(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test.each([
    ['an array of 4 billion elements', 'ddffffffff'],
    ['a map of 4 billion entries', 'dfffffffff'],
    ['bytes longer than the input', 'c6ffffffff00'],
    ['a string longer than the input', 'd9ff61'],
    ['a cut number', 'cb0000'],
    ['nothing at all', ''],
    ['two values', '0101'],
    ['the byte that MessagePack never uses', 'c1'],
    ['a msgpackr record', 'd4724091a161c0'],
    ['a regular expression', 'd4780092a128a0'],
    ['a date', 'd6ff00000000'],
    ['a key that is a number', '810101'],
    ['a key that is a map', '818001'],
    ['a key that changes the prototype', '81a95f5f70726f746f5f5f80'],
    ['the same key in a longer form', '81d9095f5f70726f746f5f5f80'],
  ])('%s is refused', (_, bytes) => {
    expect(() => unpack(hex(bytes))).toThrow(refusal)
  })

  test('deep nesting is refused without deep recursion', () => {
    expect(() => unpack(new Uint8Array(1_000_000).fill(0x91))).toThrow(/nested deeper/)
  })

  test('a million empty maps are refused rather than built', () => {
    const bytes = new Uint8Array(5 + 2_000_000).fill(0x80)
    bytes.set(hex('dd001e8480'))
    expect(() => unpack(bytes)).toThrow(/more than/)
  })

  test('byte arrays are plain Uint8Array views, in Node too', () => {
    const value = unpack(Buffer.from(pack({ bytes: Uint8Array.of(1, 2) }))) as { bytes: Uint8Array }
    expect(value.bytes.constructor).toBe(Uint8Array)
  })
})

describe('packets', () => {
  const packets = fc.oneof(
    fc.record({ type: fc.constant(PacketType.CONNECT), nsp: fc.string(), data: fc.constant({ session: 'x' }) }),
    fc.record({ type: fc.constant(PacketType.DISCONNECT), nsp: fc.string() }),
    fc.record({ type: fc.constant(PacketType.EVENT), nsp: fc.string(), data: plain.map((body) => ['chunk', body]) }),
    fc.record({ type: fc.constant(PacketType.ACK), nsp: fc.string(), data: fc.array(plain), id: fc.nat() }),
    fc.record({ type: fc.constant(PacketType.CONNECT_ERROR), nsp: fc.string(), data: fc.constant({ message: 'no' }) }),
  )
  test('come back as they were, through the classes that socket.io uses', () => {
    fc.assert(
      fc.property(packets, (packet) => {
        const decoder = new Decoder()
        const decoded: Packet[] = []
        decoder.on('decoded', (received) => decoded.push(received))
        for (const bytes of new Encoder().encode(packet)) decoder.add(bytes)
        expect(decoded).toEqual([packet])
      }),
    )
  })

  test('have the form of socket.io-msgpack-parser', () => {
    // {type: 2, nsp: '/', data: ['hello', <01 02>]} by the MessagePack specification.
    const bytes = encodePacket({ type: 2, nsp: '/', data: ['hello', Uint8Array.of(1, 2)] })
    expect(bytes).toEqual(hex('83a47479706502a36e7370a12fa46461746192a568656c6c6fc4020102'))
  })

  // All that two ends of different versions say to each other.
  test.each(['hello', 'attached', 'refused', 'closed', 'heartbeat'])('of the event %s are maps', (event) => {
    expect(unpack(encodePacket({ type: 2, nsp: '/', data: [event, {}] }))).toEqual({ type: 2, nsp: '/', data: [event, {}] })
  })

  test('of chunks and acks are lists, and are read as maps too', () => {
    const ack = { type: 2, nsp: '/', data: ['ack', [1, 2]] }
    expect(encodePacket(ack)).toEqual(hex('9201920102'))
    expect(decodePacket(hex('9201920102'))).toEqual(ack)
    expect(encodePacket({ type: 2, nsp: '/', data: ['chunk', Uint8Array.of(1, 2)] })).toEqual(hex('9200c4020102'))
    expect(decodePacket(pack(ack))).toEqual(ack)
  })

  test('of python-socketio, with nil for what is absent, are read', () => {
    const bytes = pack({ type: 1, data: null, nsp: '/', id: null })
    expect(decodePacket(bytes)).toEqual({ type: 1, nsp: '/' })
  })

  test('of notepack, which writes undefined as an extension, are read', () => {
    // {type: 1, nsp: '/', id: fixext1 of type 0}
    expect(decodePacket(hex('83a47479706501a36e7370a12fa26964d40000'))).toEqual({ type: 1, nsp: '/' })
  })

  test('carry nothing that socket.io hangs on them', () => {
    const packet = { type: 2, nsp: '/', data: ['x'], options: { compress: true } }
    expect(unpack(encodePacket(packet))).toEqual({ type: 2, nsp: '/', data: ['x'] })
  })

  test.each([
    ['text', 'hello'],
    ['a number', pack(7)],
    ['bytes', pack(Uint8Array.of(1))],
    ['an empty list', pack([])],
    ['a list of an event that there is not', pack([2, {}])],
    ['a list of no event', pack(['chunk', {}])],
    ['a list of a fractional event', pack([0.5, {}])],
    ['an unknown type', pack({ type: 5, nsp: '/' })],
    ['a fractional type', pack({ type: 1.5, nsp: '/' })],
    ['a namespace that is no string', pack({ type: 1, nsp: 3 })],
    ['an event that is no list', pack({ type: 2, nsp: '/', data: { length: 1 } })],
    ['an event without a name', pack({ type: 2, nsp: '/', data: [] })],
    ['an event that socket.io emits itself', pack({ type: 2, nsp: '/', data: ['disconnect'] })],
    ['a disconnect with data', pack({ type: 1, nsp: '/', data: [] })],
    ['a negative id', pack({ type: 3, nsp: '/', data: [], id: -1 })],
  ])('%s is refused', (_, received) => {
    expect(() => decodePacket(received)).toThrow(refusal)
  })

  test('of a generic msgpackr client are read', () => {
    const bytes = new Packr({ useRecords: false }).pack({ type: 2, nsp: '/', data: ['chunk', { n: 1 }] })
    expect(decodePacket(bytes)).toEqual({ type: 2, nsp: '/', data: ['chunk', { n: 1 }] })
  })
})
