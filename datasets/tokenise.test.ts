import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tinyTokenizer } from '../shared/model/testing/tokenizer.js'
import { tokeniseDocument, tokeniseRow } from './tokenise.js'

const tokenizer = tinyTokenizer()
/** Single bytes have their own value as id; 256 is "th", 257 " th", 259 "an" and 266 "é". */
const EOS = 267
const options = { maxLength: 32, completionOnlyLoss: true }
const plain = (rows: readonly { ids: Int32Array; scored: Uint8Array; bytes: number }[]): unknown =>
  rows.map(({ ids, scored, bytes }) => ({ ids: [...ids], scored: [...scored], bytes }))

describe('a text row', () => {
  test('ends with eos, and every token but the first is scored', () => {
    const { rows, truncated, dropped } = tokeniseRow({ kind: 'text', text: 'é an' }, tokenizer, options)
    expect(plain(rows)).toEqual([{ ids: [266, 32, 259, EOS], scored: [0, 1, 1, 1], bytes: 3 }])
    expect([truncated, dropped]).toEqual([0, 0])
  })

  test('that ends with eos already gets no second one', () => {
    const { rows } = tokeniseRow({ kind: 'text', text: 'an<|endoftext|>' }, tokenizer, options)
    expect([...rows[0].ids]).toEqual([259, EOS])
  })

  test('gets none from a tokenizer that has none, and is dropped if that leaves one token', () => {
    const without = { ...tokenizer, eosId: null }
    expect([...tokeniseRow({ kind: 'text', text: 'ban' }, without, options).rows[0].ids]).toEqual([98, 259])
    expect(tokeniseRow({ kind: 'text', text: 'an' }, without, options)).toEqual({ rows: [], truncated: 0, dropped: 1 })
  })

  test('that is too long is cut at the end and counted; one that just fits is not', () => {
    const { rows, truncated } = tokeniseRow({ kind: 'text', text: 'abcd' }, tokenizer, { ...options, maxLength: 3 })
    expect(plain(rows)).toEqual([{ ids: [97, 98, 99], scored: [0, 1, 1], bytes: 2 }])
    expect(truncated).toBe(1)
    expect(tokeniseRow({ kind: 'text', text: 'abcd' }, tokenizer, { ...options, maxLength: 5 }).truncated).toBe(0)
  })
})

describe('a prompt and its completion', () => {
  const content = { kind: 'prompt', prompt: 'the', completion: ' an' } as const

  test('are tokenised apart, and the completion and eos are scored', () => {
    const { rows } = tokeniseRow(content, tokenizer, options)
    expect(plain(rows)).toEqual([{ ids: [256, 101, 32, 259, EOS], scored: [0, 0, 1, 1, 1], bytes: 3 }])
    // Apart: ' th' and 'e' would be one token together.
    expect([...tokeniseRow({ kind: 'prompt', prompt: ' th', completion: 'e' }, tokenizer, options).rows[0].ids]).toEqual([257, 101, EOS])
  })

  test('are scored from the second token on where the prompt counts too', () => {
    const { rows } = tokeniseRow(content, tokenizer, { ...options, completionOnlyLoss: false })
    expect(plain(rows)).toEqual([{ ids: [256, 101, 32, 259, EOS], scored: [0, 1, 1, 1, 1], bytes: 4 }])
  })

  test('whose prompt fills the row leave nothing to score: the row is dropped and counted', () => {
    expect(tokeniseRow(content, tokenizer, { ...options, maxLength: 2 })).toEqual({ rows: [], truncated: 1, dropped: 1 })
    expect(tokeniseRow(content, tokenizer, { ...options, maxLength: 3 })).toMatchObject({ truncated: 1, dropped: 0 })
  })
})

describe('a document', () => {
  test('becomes windows one after the other, the last one with eos', () => {
    const { rows, dropped } = tokeniseDocument('abcdef', tokenizer, { maxLength: 4 })
    expect(plain(rows)).toEqual([
      { ids: [97, 98, 99, 100], scored: [0, 1, 1, 1], bytes: 3 },
      { ids: [101, 102, EOS], scored: [0, 1, 1], bytes: 1 },
    ])
    expect(dropped).toBe(0)
  })

  test('whose eos would stand alone in a window ends without it', () => {
    const { rows, dropped } = tokeniseDocument('abcd', tokenizer, { maxLength: 4 })
    expect(rows.map(({ ids }) => [...ids])).toEqual([[97, 98, 99, 100]])
    expect(dropped).toBe(1)
  })

  test('is all there: windows joined are the document, and their bytes are its bytes less the first tokens', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), fc.integer({ min: 2, max: 9 }), (text, maxLength) => {
        const { rows } = tokeniseDocument(text, tokenizer, { maxLength })
        const whole = [...tokenizer.encode(text, { specialTokens: true }), EOS]
        const kept = whole.length % maxLength === 1 ? whole.slice(0, -1) : whole
        expect(rows.flatMap(({ ids }) => [...ids])).toEqual(kept)
        const firsts = rows.reduce((sum, { ids }) => sum + tokenizer.textBytes(ids.subarray(0, 1)), 0)
        expect(rows.reduce((sum, row) => sum + row.bytes, 0)).toBe(tokenizer.textBytes(kept) - firsts)
      }),
    )
  })
})
