import { afterAll, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import { decodeVarints, encodeVarints } from '../shared/protocol/varints.js'
import { openGolden } from '../shared/model/testing/golden.js'
import { overMemory, overSlowMemory, overSockets, type Connect } from './testing/links.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'
import { runTogether, type RunTogether } from './testing/together.js'

const backend = referenceBackend()
afterAll(() => backend.dispose())

const start = openGolden('gpt2').adapter

/** Two clients, three epochs. */
function run(transport: Groups[string], connect?: Connect): Promise<RunTogether> {
  return runTogether({
    config: smallConfig({ federation: { num_clients: 2, num_rounds: 3, local_steps: null, local_epochs: 1 }, transport }),
    backend,
    data: smallData(2),
    start,
    ...(connect ? { connect } : {}),
  })
}

function codeBytes({ traffic }: RunTogether, round: number, kind: string): number {
  return traffic.filter((line) => line.round === round && line.kind === kind).reduce((sum, { payload_bytes }) => sum + payload_bytes, 0)
}

const exact = run({})

describe('codecs that remember rows', () => {
  test.each([
    ['delta+int8', 'delta+int8', 0.01, 1],
    ['delta+int4+zstd', 'delta+int8+zstd', 0.01, 1],
    ['lowrank:rank=2+int8', 'lowrank:rank=2+int8', 0.01, 0.6],
    // Rows that are taken for what they were cost some of what training gained in between.
    ['reuse+int8', 'int8', 0.03, 0.6],
    ['reuse:threshold=0.95:control=off+int8', 'feedback+int8', 0.03, 0.6],
    ['feedback+int8', 'feedback+int8', 0.01, 1],
  ])(
    '%s and %s: the loss stays near that of fp32, and epochs after the first take at most so much of its bytes',
    async (activation_codec, gradient_codec, near, most) => {
      const made = await run({ activation_codec, gradient_codec })
      const plain = await exact
      for (const [round, { train_loss, eval_loss }] of plain.rounds.entries()) {
        if (train_loss !== null) expect(Math.abs(made.rounds[round].train_loss! / train_loss - 1)).toBeLessThan(near)
        expect(Math.abs(made.rounds[round].eval_loss! / eval_loss! - 1)).toBeLessThan(near)
      }
      const first = codeBytes(made, 1, 'activations')
      expect(first).toBeLessThan(codeBytes(plain, 1, 'activations') / 2)
      // The first three batches of each epoch hold other rows, of other lengths: a few bytes either way.
      for (const round of [2, 3]) expect(codeBytes(made, round, 'activations') / first).toBeLessThan(most * 1.15)
    },
  )

  test('give the same bits over memory and sockets, and whoever comes first', async () => {
    const codecs = { activation_codec: 'delta+int4', gradient_codec: 'lowrank:rank=1+int8' }
    const together = await run(codecs)
    const slow = await run(
      codecs,
      overSlowMemory(3, () => {}),
    )
    const sockets = await overSockets()
    try {
      for (const other of [slow, await run(codecs, sockets.connect)]) {
        expect(other.adapter).toEqual(together.adapter)
        expect(other.activations).toEqual(together.activations)
        expect(other.gradients).toEqual(together.gradients)
      }
    } finally {
      await sockets.close()
    }
  })

  test('a server that does not hold what it should gets the batch whole, and the run is the same', async () => {
    const codecs = { activation_codec: 'delta+int8', gradient_codec: 'delta+int8' }
    let asked = 0
    let isTampered = false
    const onceWrong: Connect = async (hello, attach) => {
      const pair = memoryLinkPair({ hello })
      attach({
        ...pair.server,
        onMessage: (listener) =>
          pair.server.onMessage((message) => {
            if (isTampered || message.type !== 'activations' || message.purpose !== 'train' || message.step !== 1) return listener(message)
            isTampered = true
            const rows = [...decodeVarints(message.rows)]
            // The age of what the first row is told against: it is told for the first time.
            rows[2] = 1
            listener({ ...message, rows: encodeVarints(rows) })
          }),
      })
      pair.client.onTraffic((_, message) => void (asked += Number(message.type === 'resync')))
      return { ...pair.client, onTraffic: (listener) => pair.client.onTraffic(listener) }
    }
    const disturbed = await run(codecs, onceWrong)
    const plain = await run(codecs, overMemory)
    expect(asked).toBe(1)
    expect(disturbed.adapter).toEqual(plain.adapter)
    expect(new Set(disturbed.steps)).toEqual(new Set(plain.steps))
  })
})
