import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tokeniseDocument } from '../../datasets/tokenise.js'
import { referenceBackend } from '../../shared/backend/reference.js'
import { openCheckpoint } from '../../shared/model/checkpoint.node.js'
import { gpt2 } from '../../shared/model/families/gpt2.js'
import { tinyTokenizer, tinyTokenizerFiles } from '../../shared/model/testing/tokenizer.js'
import { loadTokenizer } from '../../shared/model/tokenizer.node.js'
import { f32, type F32Tensor } from '../../shared/tensor.js'
import { parsePretrainConfig } from './config.js'
import { openEvaluation } from './evaluation.js'
import { initialWeights } from './initial.js'
import { writeModelFolder } from './model-folder.js'
import { pretrain, type Milestone, type RunOptions } from './run.js'
import { openTrainer } from './trainer.js'
import { tokenStream } from './windows.js'

const RECIPE = `
seed: 3
model: { model_type: gpt2, vocab_size: 268, n_positions: 16, n_embd: 16, n_layer: 1, n_head: 2, initializer_range: 0.02, bos_token_id: 267, eos_token_id: 267 }
train: { steps: 30, batch_size: 2, window_tokens: 16, learning_rate: 0.02, warmup_ratio: 0.1, weight_decay: 0.1,
  adam_beta1: 0.9, adam_beta2: 0.95, adam_epsilon: 1.0e-8, max_grad_norm: 1 }
evaluation: { every_steps: 10, rows: 4 }
engine: { threads: 1 }
`
const config = parsePretrainConfig(RECIPE, 'the tiny recipe')
const model = gpt2.parse(config.model)
const tokenizer = tinyTokenizer()
const documents = [1, 2].map((number) => ({ title: `Speech ${number}`, text: 'the state of the man and the man of the state '.repeat(8) }))
const stream = tokenStream(documents, tokenizer)
const heldOut = tokeniseDocument('and the state of the man of the man and the state ', tokenizer, { maxLength: 16 }).rows
const backend = referenceBackend()
let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-pretrain-'))
})
afterAll(async () => {
  await backend.dispose()
  await rm(folder, { recursive: true })
})

async function trained(changes: Partial<RunOptions> = {}, rate = config.train.learning_rate) {
  const recipe = { ...config, train: { ...config.train, learning_rate: rate } }
  const weights = initialWeights(model, config.model.initializer_range, config.seed)
  const definition = { family: gpt2, config: model }
  const trainer = await openTrainer(backend, definition, weights, recipe.train)
  const evaluation = await openEvaluation(backend, definition)
  const milestones: Milestone[] = []
  const options: RunOptions = { minutes: null, now: () => 0, onMilestone: async (milestone) => void milestones.push(milestone), ...changes }
  const outcome = await pretrain({ trainer, evaluation }, weights, { stream, heldOut }, recipe, options)
  return { outcome, milestones, evaluation }
}

describe('pre-training a tiny model', () => {
  test('lowers the loss, on the corpus and on what is held out', async () => {
    const { milestones, outcome } = await trained()
    expect(milestones.map(({ step }) => step)).toEqual([10, 20, 30])
    expect(milestones[0].trainLoss).toBeLessThan(Math.log(268))
    expect(milestones[2].trainLoss).toBeLessThan(milestones[0].trainLoss - 1)
    expect(outcome.heldOut.loss).toBeLessThan(milestones[0].heldOut.loss!)
    expect(outcome).toMatchObject({ steps: 30, tokens: 30 * 2 * 16 })
  })

  test('gives the same weights twice, bit for bit', async () => {
    const [first, second] = [await trained(), await trained()]
    expect(second.outcome.best).toEqual(first.outcome.best)
  })

  test('keeps the best weights, not the last', async () => {
    // At this rate the model is soon worse than it was.
    const { milestones, outcome } = await trained({}, 20)
    const best = milestones.reduce((least, milestone) => (milestone.heldOut.loss! < least.heldOut.loss! ? milestone : least))
    expect(outcome.bestStep).toBe(best.step)
    expect(milestones.filter(({ isBest }) => isBest).at(-1)!.step).toBe(best.step)
    expect(outcome.heldOut.loss).toBe(best.heldOut.loss)
  })

  test('with a time limit, the schedule follows the clock', async () => {
    let seconds = 0
    const { milestones, outcome } = await trained({ minutes: 1, now: () => (seconds += 2.5) })
    expect(outcome.steps).toBeGreaterThan(15)
    expect(outcome.steps).toBeLessThan(30)
    const { learningRate } = milestones.at(-1)!
    expect(learningRate).toBeGreaterThan(0)
    expect(learningRate).toBeLessThan(0.1 * config.train.learning_rate)
  })

  test('stops when the loss is no longer a number', async () => {
    await expect(trained({}, 1e30)).rejects.toMatchObject({ code: 'ROUND_FAILED' })
  })

  test('writes a folder that opens as a model, whose weights have the loss that was reported', async () => {
    const { tokenizer: tokenizerJson, config: tokenizerConfig } = tinyTokenizerFiles()
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson))
    await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(tokenizerConfig))
    const { outcome, evaluation } = await trained()
    const target = join(folder, 'model')
    await writeModelFolder(target, config.model, outcome.best, folder, '# Tiny\n')

    const checkpoint = await openCheckpoint(target)
    const read = new Map<string, F32Tensor>()
    for (const [name, shape] of gpt2.tensors(gpt2.parse(checkpoint.config))) {
      expect(checkpoint.tensors.get(name)).toMatchObject({ dtype: 'F16', shape })
      read.set(name, f32(shape, await checkpoint.readF32(name)))
    }
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...read.keys()].sort())
    await checkpoint.close()
    const { nll, tokens } = await evaluation.evaluate(heldOut, read, 2)
    expect(nll! / tokens).toBe(outcome.heldOut.loss)
    expect((await loadTokenizer(target)).encode('the state', { specialTokens: true })).toEqual(
      tokenizer.encode('the state', { specialTokens: true }),
    )
  })
})
