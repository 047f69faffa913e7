import { afterAll, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { openGolden, relativeError } from '../shared/model/testing/golden.js'
import { decodeTensor, FP32 } from '../shared/protocol/codec/index.js'
import type { CodedTensor } from '../shared/protocol/messages.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'
import { runTogether, type RunTogether } from './testing/together.js'

/** Float32 rounds by up to 6e-8 of a number; design.md's bound for what a cut may change. */
const ROUNDING = 1e-6

const backend = referenceBackend()
afterAll(() => backend.dispose())

/** Starts from a trained adapter: in a fresh one B is zero, and LoRA's scale and masks do nothing to the first loss. */
const start = openGolden('gpt2').adapter
const run = (changes: Groups, clients = 1): Promise<RunTogether> =>
  runTogether({
    config: smallConfig({ ...changes, federation: { num_clients: clients, local_steps: 2 } }),
    backend,
    data: smallData(clients),
    start,
  })

const lossesOf = ({ steps }: RunTogether, id = 'client-0'): number[] =>
  steps.filter(({ client }) => client === id).map(({ loss }) => loss ?? NaN)

test('fp16 in both directions halves the bytes, and moves losses by no more than its rounding can', async () => {
  const exact = await run({})
  const half = await run({ transport: { activation_codec: 'fp16', gradient_codec: 'fp16' } })
  const decoded = ({ hidden }: { hidden: CodedTensor }): Float32Array => decodeTensor(FP32, hidden, hidden.shape)
  for (const [step, loss] of lossesOf(exact).entries()) {
    // To first order the loss moves by sum(G dZ), and fp16 changes no number by more than 2^-11 of itself. Twice that, because what earlier
    // steps lost is in the adapters. Rounding errors of both signs cancel, so this is far more than is used.
    const key = `client-0/1/${step}/0`
    const hidden = decoded(exact.activations.get(key)!)
    const reach = decoded(exact.gradients.get(key)!).reduce((sum, gradient, i) => sum + Math.abs(gradient * hidden[i]), 0)
    expect(Math.abs(lossesOf(half)[step] - loss)).toBeLessThan(2 * 2 ** -11 * reach)
    expect(lossesOf(half)[step], 'something was rounded').not.toBe(loss)
    expect(2 * 2 ** -11 * reach, 'the bound says something').toBeLessThan(0.01 * loss)
  }
  const bytes = (messages: ReadonlyMap<string, { hidden: CodedTensor }>): number =>
    [...messages.values()].reduce((sum, { hidden }) => sum + hidden.bytes.length, 0)
  for (const kind of ['activations', 'gradients'] as const) expect(bytes(half[kind]) / bytes(exact[kind])).toBeCloseTo(0.5, 2)
})

test('dropout has the same masks wherever the cut is, and none in evaluation', async () => {
  // Each side clips by its own norm, which depends on the cut.
  const dropout = (lora_dropout: number, cut_layer: number): Promise<RunTogether> =>
    run({ lora: { lora_dropout }, split: { cut_layer }, train: { max_grad_norm: 0 } })
  const [one, three, without] = [await dropout(0.4, 1), await dropout(0.4, 3), await dropout(0, 1)]
  expect(relativeError(lossesOf(three), lossesOf(one))).toBeLessThan(ROUNDING)
  for (const [name, { data }] of one.adapter) expect(relativeError(three.adapter.get(name)!.data, data), name).toBeLessThan(ROUNDING)
  for (const [step, loss] of lossesOf(one).entries()) expect(Math.abs(loss - lossesOf(without)[step])).toBeGreaterThan(1e-3)
  expect(one.rounds[0].eval_loss).not.toBeNull()
  expect(one.rounds[0].eval_loss).toBe(without.rounds[0].eval_loss)
})

test('gradient checkpointing gives the same bits', async () => {
  const changes = { lora: { lora_dropout: 0.4 } }
  const [kept, recomputed] = [await run(changes), await run({ ...changes, train: { gradient_checkpointing: true } })]
  expect(recomputed.steps).toEqual(kept.steps)
  expect(recomputed.adapter).toEqual(kept.adapter)
})

test('rsLoRA divides alpha by the root of the rank', async () => {
  // 8 / sqrt(4) = 16 / 4
  const [rooted, plain] = [await run({ lora: { use_rslora: true } }), await run({ lora: { lora_alpha: 16 } })]
  expect(rooted.steps).toEqual(plain.steps)
  expect(rooted.adapter).toEqual(plain.adapter)
  expect(lossesOf(rooted)).not.toEqual(lossesOf(await run({})))
})

test('two micro-batches of 2 rows make the step that one batch of 4 makes', async () => {
  const batches = (per_device_train_batch_size: number, gradient_accumulation_steps: number): Promise<RunTogether> =>
    run({ train: { per_device_train_batch_size, gradient_accumulation_steps, group_by_length: false } })
  const [apart, together] = [await batches(2, 2), await batches(4, 1)]
  expect([apart.activations.size, together.activations.size]).toEqual([4, 2])
  expect(relativeError(lossesOf(apart), lossesOf(together))).toBeLessThan(ROUNDING)
  for (const [name, { data }] of together.adapter) expect(relativeError(apart.adapter.get(name)!.data, data), name).toBeLessThan(ROUNDING)
})

test("in a step with a joint top no client's numbers depend on who else is there", async () => {
  const [alone, among] = [await run({}), await run({}, 3)]
  const key = 'client-0/1/0/0'
  expect(among.activations.get(key)).toEqual(alone.activations.get(key))
  expect(among.gradients.get(key)).toEqual(alone.gradients.get(key))
  const first = ({ steps }: RunTogether): unknown => steps.find(({ step, client }) => step === 0 && client === 'client-0')
  expect(first(among)).toEqual(first(alone))
  // The next step meets a top that learnt from all three.
  expect(lossesOf(among)[1]).not.toBe(lossesOf(alone)[1])
})
