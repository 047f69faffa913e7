import { afterAll, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { payloadBytes } from '../shared/protocol/traffic.js'
import type { Activations } from '../shared/protocol/messages.js'
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

function payloadOf({ hidden, lengths, targets, scored }: Activations): number {
  return hidden.bytes.length + lengths.length + targets.length + scored.length
}
