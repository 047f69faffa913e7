import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Backend } from '../shared/backend/backend.js'
import { onnxBackend } from '../shared/backend/onnx/onnx.node.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { overSlowMemory, overSockets, type Connect } from './testing/links.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'
import { runTogether, type RunTogether } from './testing/together.js'

const CLIENTS = 3
/** Has whatever is drawn by chance: initial adapter, order of rows, dropout, selection of who evaluates. */
const CHANCE: Groups = {
  lora: { r: 4, lora_alpha: 8, lora_dropout: 0.3, target_modules: ['c_attn'] },
  federation: { num_rounds: 2, num_clients: CLIENTS, local_steps: 1, fraction_evaluate: 0.5 },
}

const backends: { name: string; create: () => Backend }[] = [
  { name: 'reference', create: referenceBackend },
  { name: 'onnx', create: () => onnxBackend({ threads: 1, lanes: 2 }) },
]

describe.each(backends)('on $name', ({ create }) => {
  const backend = create()
  afterAll(() => backend.dispose())

  const run = (changes: Groups = {}, connect?: Connect): Promise<RunTogether> =>
    runTogether({ config: smallConfig({ ...CHANCE, ...changes }), backend, data: smallData(CLIENTS), ...(connect ? { connect } : {}) })

  test('the same seed gives the same run, bit for bit, over memory and over sockets; another seed another', async () => {
    const first = await run()
    const again = await run()
    expectSameRun(again, first)
    const sockets = await overSockets()
    try {
      const overNetwork = await run({}, sockets.connect)
      expectSameRun(overNetwork, first)
      expect(inOrder(overNetwork.traffic)).toEqual(inOrder(first.traffic))
    } finally {
      await sockets.close()
    }
    expect(first.traffic.filter(({ payload_bytes, kind }) => payload_bytes > 0 && kind === 'activations')).not.toHaveLength(0)
    const other = await run({ train: { seed: 43 } })
    expect(other.adapter).not.toEqual(first.adapter)
    expect(backend.liveHandles()).toBe(0)
  })
})

test.each(['joint', 'sequential', 'replicated'])('with a %s top the order in which messages arrive does not matter', async (top) => {
  const backend = referenceBackend()
  const config = smallConfig({ federation: { num_clients: CLIENTS, local_steps: 2, top } })
  const expected = await runTogether({ config, backend, data: smallData(CLIENTS) })
  const orders = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.nat(), async (seed) => {
      const arrivals: string[] = []
      const connect = overSlowMemory(seed, (client, { type }) => void (type === 'activations' && arrivals.push(client)))
      expectSameRun(await runTogether({ config, backend, data: smallData(CLIENTS), connect }), expected)
      orders.add(arrivals.join(' '))
    }),
    { numRuns: 3, seed: 7 },
  )
  expect(orders.size).toBeGreaterThan(1)
})

/** All numbers of a run, exactly. Lines of one round may come in any order, and its seconds differ. */
function expectSameRun(actual: RunTogether, expected: RunTogether): void {
  expect(inOrder(actual.steps)).toEqual(inOrder(expected.steps))
  const rounds = ({ rounds }: RunTogether): unknown[] =>
    rounds.map(({ round, train_loss, eval_loss, clients }) => ({
      round,
      train_loss,
      eval_loss,
      clients: clients.map(({ id, steps, tokens, train_loss, eval_loss }) => ({ id, steps, tokens, train_loss, eval_loss })),
    }))
  expect(rounds(actual)).toEqual(rounds(expected))
  expect(actual.adapter).toEqual(expected.adapter)
}

function inOrder(lines: readonly unknown[]): string[] {
  return lines.map((line) => JSON.stringify(line)).sort()
}
