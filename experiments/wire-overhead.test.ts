import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { wireName } from '../shared/protocol/codec/wire-name.js'
import { payloadBytes } from '../shared/protocol/traffic.js'
import type { Activations } from '../shared/protocol/messages.js'
import { messageTraffic } from './plan/wire.js'
import { activations } from './testing/activations.js'
import { overMemory, overSockets, type Connect } from './testing/links.js'
import { smallConfig, smallData } from './testing/small-run.js'
import { runTogether } from './testing/together.js'

/** Of a message, beside its codes, lengths, targets and mask: WebSocket frames, chunk, ack, and the message's other fields. */
const MOST_OVERHEAD_BYTES = 100

const backend = referenceBackend()
afterAll(() => backend.dispose())

async function ledger(connect: Connect) {
  const config = smallConfig({
    transport: { activation_codec: 'int8+zstd', gradient_codec: 'int8+zstd' },
    federation: { num_rounds: 2, num_clients: 2, local_steps: 2 },
  })
  const { traffic, activations } = await runTogether({ config, backend, data: smallData(2), connect })
  const lines = traffic.filter(({ kind }) => ['activations', 'gradients', 'evaluation'].includes(kind))
  return { lines, activations: [...activations.values()] }
}

describe('a run of which every byte is counted', () => {
  test('has less than 100 bytes of overhead for each exchange of a step in each direction, over memory and sockets alike', async () => {
    const { lines, activations } = await ledger(overMemory)
    const sockets = await overSockets()
    try {
      const overNetwork = await ledger(sockets.connect)
      expect(new Set(overNetwork.lines)).toEqual(new Set(lines))
    } finally {
      await sockets.close()
    }
    const steps = lines.filter(({ kind }) => kind !== 'evaluation')
    // Two clients in two rounds of two steps.
    for (const kind of ['activations', 'gradients'])
      expect(steps.filter((line) => line.kind === kind).reduce((sum, { messages }) => sum + messages, 0)).toBe(8)
    for (const { kind, messages, payload_bytes, wire_bytes } of steps)
      expect((wire_bytes - payload_bytes) / messages, kind).toBeLessThan(MOST_OVERHEAD_BYTES)
    // What counts as payload is hidden, lengths, targets and mask, and nothing else.
    const sent = activations.reduce((sum, message) => sum + payloadOf(message), 0)
    expect(steps.filter(({ kind }) => kind === 'activations').reduce((sum, { payload_bytes }) => sum + payload_bytes, 0)).toBe(sent)
    expect(sent).toBe(activations.reduce((sum, message) => sum + payloadBytes(message), 0))
  })
})

describe('a message of a step', () => {
  const anyCodec = fc.constantFrom('fp32', 'int8', 'delta+int8', 'lowrank+int8', 'lowrank:rank=16+int4:group=64:outliers=4+zstd:level=19')
  const MIB = 2 ** 20

  test('of any codec and size up to 4 MiB has less than 100 bytes of overhead in one chunk, and less than 60 for each further one', () => {
    fc.assert(
      fc.property(
        anyCodec,
        fc.nat(4 * MIB),
        fc.nat(65_000),
        fc.nat(65_000),
        fc.constantFrom(MIB, 8 * MIB),
        (codec, bytes, step, number, chunkBytes) => {
          const hidden = { codec: wireName(codec), shape: [60_000, 60_000], bytes: new Uint8Array(0) }
          const place = { round: 1 + (number % 65_000), step }
          const lengths = [bytes, 3000, 300, 3000, 1000]
          const payload = lengths.reduce((sum, length) => sum + length, 0)
          const further = Math.ceil((payload + MOST_OVERHEAD_BYTES) / chunkBytes) - 1
          const up = activations({ ...place, hidden, normalizer: 60_000 })
          for (const [message, from] of [
            [{ ...up, lengths: EMPTY, rows: EMPTY, scored: EMPTY, targets: EMPTY }, 'client'],
            [{ ...up, type: 'gradients', rows: EMPTY, nll: 0.1, tokens: 60_000 }, 'server'],
          ] as const) {
            const own = from === 'client' ? lengths : [bytes, 3000]
            const { wire_bytes, payload_bytes } = messageTraffic(message, from, own, chunkBytes, 1 + number)
            expect(wire_bytes - payload_bytes).toBeLessThan(MOST_OVERHEAD_BYTES + 60 * further)
          }
        },
      ),
    )
  })

  test('calls a codec by its name if that is short, and otherwise by what tells it from all others', () => {
    expect(wireName('lowrank+int8')).toBe('lowrank+int8')
    // CRC-32 as zlib has it.
    expect(wireName('lowrank:rank=16+int8')).toBe('#de76d155')
    expect(wireName('lowrank:rank=16+int4')).not.toBe(wireName('lowrank:rank=16+int8'))
  })
})

const EMPTY = new Uint8Array(0)

function payloadOf({ hidden, lengths, targets, scored }: Activations): number {
  return hidden.bytes.length + lengths.length + targets.length + scored.length
}
