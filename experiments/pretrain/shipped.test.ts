import { readdir, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tensorsOf } from '../../shared/backend/backend.js'
import { referenceBackend } from '../../shared/backend/reference.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { tokeniseDocument } from '../../datasets/tokenise.js'
import { openCheckpoint, type Checkpoint } from '../../shared/model/checkpoint.node.js'
import { gpt2 } from '../../shared/model/families/gpt2.js'
import { lossGraph } from '../../shared/model/graphs.js'
import { loadTokenizer } from '../../shared/model/tokenizer.node.js'
import { f32, scalar, type F32Tensor } from '../../shared/tensor.js'
import { packBatch } from '../../shared/train/batch.js'
import { dividedCorpus } from './corpus.js'

const folder = fileURLToPath(new URL('../../datasets/model', import.meta.url))

describe('the shipped model', () => {
  let checkpoint: Checkpoint
  beforeAll(async () => {
    checkpoint = await openCheckpoint(folder)
  })
  afterAll(() => checkpoint.close())

  test('takes at most 12 MB', async () => {
    const sizes = await Promise.all((await readdir(folder)).map(async (file) => (await stat(`${folder}/${file}`)).size))
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(12e6)
  })

  test('has all tensors of its family in float16, and no other', () => {
    const found = new Map([...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape }]))
    const expected = [...gpt2.tensors(gpt2.parse(checkpoint.config))].map(([name, shape]) => [name, { dtype: 'F16', shape }] as const)
    expect(found).toEqual(new Map(expected))
  })

  test('has a tokenizer with as many ids as the embedding has rows, which writes any text back', async () => {
    const tokenizer = await loadTokenizer(folder)
    expect(tokenizer.vocabSize).toBe(gpt2.architecture(gpt2.parse(checkpoint.config)).vocabularySize)
    expect(tokenizer.eosId).toBe(0)
    expect(tokenizer.bosId).toBe(0)
    for (const text of ['The state of the Union', ' two  spaces,\ttab\nline', 'naïve — 語 🐋 \u0000'])
      expect(tokenizer.decode(tokenizer.encode(text, { specialTokens: true }))).toBe(text)
  })

  test('reads a speech it has never seen far better than by chance', async () => {
    const { heldOut } = await dividedCorpus()
    const tokenizer = await loadTokenizer(folder)
    const { rows } = tokeniseDocument(heldOut[2].text, tokenizer, { maxLength: 64 })
    const config = gpt2.parse(checkpoint.config)
    const tensors = new Map<string, F32Tensor>()
    for (const [name, { shape }] of checkpoint.tensors) tensors.set(name, f32(shape, await checkpoint.readF32(name)))
    const backend = referenceBackend()
    const program = await backend.compile(lossGraph({ family: gpt2, config }, 0), memoryWeights(tensors, 'shipped'), { name: 'loss' })
    const { ids, positions, slots, places, scored, targets } = packBatch([rows[3]])
    const normalizer = scalar(targets.data.length)
    const [loss] = tensorsOf(await program.run({ ids, positions, slots, places, scored, targets, normalizer }), ['loss'])
    // A uniform guess has ln 4096 = 8.32 nats; guessing by the frequencies of the corpus' tokens has about 6.5.
    expect(loss.data[0]).toBeLessThan(5)
    await backend.dispose()
  })
})
