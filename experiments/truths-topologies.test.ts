import { afterAll, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { openGolden, relativeError } from '../shared/model/testing/golden.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'
import { runTogether } from './testing/together.js'

/** Float32 rounds by up to 6e-8 of a number; this is the bound for what a cut may change. */
const ROUNDING = 1e-6

const backend = referenceBackend()
afterAll(() => backend.dispose())

const run = (changes: Groups) =>
  runTogether({
    config: smallConfig({
      ...changes,
      // Each side clips by its own norm, so clipping alone would tell a split from a whole model.
      train: { max_grad_norm: 0 },
      federation: { num_rounds: 2, num_clients: 3, local_steps: 2, ...changes.federation },
    }),
    backend,
    data: smallData(3),
    start: openGolden('gpt2').adapter,
  })

test('federated clients train as those of a split whose top each has a copy of, and send no activations', async () => {
  const federated = await run({ split: { topology: 'federated' } })
  const replicated = await run({ split: { topology: 'split', cut_layer: 2 }, federation: { top: 'replicated' } })
  expect(federated.activations.size).toBe(0)
  expect(replicated.activations.size).toBe(3 * 2 * 2)
  const losses = ({ steps }: typeof federated): number[] =>
    ['client-0', 'client-1', 'client-2'].flatMap((id) => steps.filter(({ client }) => client === id).map(({ loss }) => loss ?? NaN))
  expect(losses(federated)).toHaveLength(3 * 2 * 2)
  losses(federated).forEach((loss, i) => expect(Math.abs(loss - losses(replicated)[i])).toBeLessThan(ROUNDING * loss))
  for (const [name, { data }] of federated.adapter)
    expect(relativeError(replicated.adapter.get(name)!.data, data), name).toBeLessThan(ROUNDING)
})

test('a federated round evaluates the averaged adapter on every client, and its lines say what was trained', async () => {
  const { rounds, traffic } = await run({ split: { topology: 'federated' } })
  expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2])
  for (const { round, eval_loss, clients, aggregation } of rounds) {
    expect(eval_loss).toBeGreaterThan(0)
    expect(clients.map(({ id }) => id)).toEqual(['client-0', 'client-1', 'client-2'])
    if (round > 0) expect([clients.map(({ steps }) => steps), aggregation?.replies]).toEqual([[2, 2, 2], 3])
  }
  expect([...new Set(traffic.map(({ kind }) => kind))].sort()).toEqual(['adapter', 'control', 'evaluation'])
})
