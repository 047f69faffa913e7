import { expect, test } from 'vitest'
import { whatLeaves } from './what-leaves.js'

const split = { topology: 'split', cut_layer: 2, tail_layers: 0 } as const

test('a split run says that activations and the ids of scored tokens leave, and how deep the cut is', () => {
  expect(whatLeaves({ split })).toMatch(/smashed activations.*ids of all scored tokens \(for plain-text rows: all of them\).*first 2 block/)
})

test('a cut at 0 is said to hide nothing', () => {
  expect(whatLeaves({ split: { ...split, cut_layer: 0 } })).toMatch(/hide nothing/)
})

test('where clients hold the whole model, only the adapter and losses leave', () => {
  const sentence = whatLeaves({ split: { ...split, topology: 'centralized' } })
  expect(sentence).toMatch(/LoRA adapter after each round, and losses/)
  expect(sentence).not.toMatch(/ids|smashed/)
})
