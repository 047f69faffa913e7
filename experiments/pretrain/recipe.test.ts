import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { gpt2 } from '../../shared/model/families/gpt2.js'
import { tinyTokenizer } from '../../shared/model/testing/tokenizer.js'
import { parsePretrainConfig } from './config.js'
import { divide } from './corpus.js'
import { decays, initialWeights } from './initial.js'
import { tokenStream, windowsOf } from './windows.js'

const recipePath = new URL('config.yaml', import.meta.url)

describe('the recipe', () => {
  test('an unknown key is refused by name', async () => {
    const text = await readFile(recipePath, 'utf8')
    expect(() => parsePretrainConfig(`${text}  spare_threads: 1\n`, 'recipe')).toThrow(/engine.*spare_threads/)
  })

  test('what is not YAML is refused with the line', () => {
    expect(() => parsePretrainConfig('seed: 1\nmodel: [', 'recipe')).toThrow(expect.objectContaining({ code: 'CONFIG_SYNTAX' }))
    expect(() => parsePretrainConfig('seed: 1\nmodel: [', 'recipe')).toThrow(/line 2/)
  })
})

describe('the corpus', () => {
  test('holds out the last of each 20 speeches, and nothing of the book', () => {
    const documents = [
      ...Array.from({ length: 45 }, (_, index) => ({ title: `Speech ${index}`, text: '' })),
      ...Array.from({ length: 30 }, (_, index) => ({ title: `Moby Dick, ${index}`, text: '' })),
    ]
    const { train, heldOut } = divide(documents)
    expect(heldOut.map(({ title }) => title)).toEqual(['Speech 19', 'Speech 39'])
    expect(train).toHaveLength(73)
    expect(train.filter((document) => heldOut.includes(document))).toEqual([])
  })

  test('is one line of tokens, each document ended by eos', () => {
    const tokenizer = tinyTokenizer()
    const stream = tokenStream(
      ['the state', 'a man'].map((text) => ({ title: '', text })),
      tokenizer,
    )
    expect(tokenizer.decode(stream)).toBe('the state<|endoftext|>a man<|endoftext|>')
  })
})

describe('the windows of a step', () => {
  const stream = Int32Array.from({ length: 40 }, (_, index) => index)

  test('are stretches of the stream, and reach both its ends', () => {
    const starts = new Set<number>()
    for (let step = 0; step < 200; step++)
      for (const { ids, scored } of windowsOf(stream, 1, step, 2, 8)) {
        expect([...ids]).toEqual(Array.from({ length: 8 }, (_, index) => ids[0] + index))
        expect([...scored]).toEqual([0, 1, 1, 1, 1, 1, 1, 1])
        starts.add(ids[0])
      }
    expect(Math.min(...starts)).toBe(0)
    expect(Math.max(...starts)).toBe(32)
  })

  test('depend on seed and step alone', () => {
    const idsOf = (seed: number, step: number): number[][] => windowsOf(stream, seed, step, 2, 8).map(({ ids }) => [...ids])
    expect(idsOf(1, 5)).toEqual(idsOf(1, 5))
    expect(idsOf(1, 5)).not.toEqual(idsOf(1, 6))
    expect(idsOf(1, 5)).not.toEqual(idsOf(2, 5))
  })

  test('a corpus shorter than a window is refused', () => {
    expect(() => windowsOf(stream, 1, 0, 1, 41)).toThrow(expect.objectContaining({ code: 'DATA_EMPTY' }))
  })
})

describe('the initial weights', () => {
  const config = gpt2.parse({ model_type: 'gpt2', vocab_size: 300, n_positions: 32, n_embd: 64, n_layer: 2, n_head: 4 })
  const weights = initialWeights(config, 0.02, 7)

  test.each([
    ['transformer.wte.weight', 0.02],
    ['transformer.wpe.weight', 0.02],
    ['transformer.h.0.attn.c_attn.weight', 0.02],
    ['transformer.h.1.mlp.c_fc.weight', 0.02],
    // Two blocks write into the residual stream four times, and 0.02 / sqrt(4) = 0.01.
    ['transformer.h.0.attn.c_proj.weight', 0.01],
    ['transformer.h.1.mlp.c_proj.weight', 0.01],
  ])('%s has mean 0 and deviation %f', (name, deviation) => {
    const { data } = weights.get(name)!
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length
    const variance = data.reduce((sum, value) => sum + value ** 2, 0) / data.length
    // Six standard errors of a sample of that size.
    expect(Math.abs(mean)).toBeLessThan((6 * deviation) / Math.sqrt(data.length))
    expect(Math.abs(Math.sqrt(variance) / deviation - 1)).toBeLessThan(6 / Math.sqrt(2 * data.length))
  })

  test('norms are 1 and biases 0', () => {
    expect(new Set(weights.get('transformer.h.1.ln_2.weight')!.data)).toEqual(new Set([1]))
    expect(new Set(weights.get('transformer.ln_f.weight')!.data)).toEqual(new Set([1]))
    for (const [name, { data }] of weights) if (name.endsWith('.bias')) expect(new Set(data), name).toEqual(new Set([0]))
  })

  test('matrices of the blocks decay, and nothing else', () => {
    const kinds = new Set([...weights.keys()].filter(decays).map((name) => name.replace(/^.*\.h\.\d+\./, '')))
    expect([...kinds].sort()).toEqual(['attn.c_attn.weight', 'attn.c_proj.weight', 'mlp.c_fc.weight', 'mlp.c_proj.weight'])
  })
})
