import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LinearModule } from './families/family.js'
import {
  exceptions,
  namesOf,
  ofModule,
  patternKeyProblem,
  patternProblem,
  perModule,
  selectedModules,
  selectionAsTargets,
  unmatchedKeys,
  type ModuleSelection,
} from './module-selection.js'
import { openGolden } from './testing/golden.js'

const linearsOf = (golden: string): LinearModule[] => {
  const { model } = openGolden(golden)
  return model.family.linears(model.config)
}
const [gpt2, llama] = [linearsOf('gpt2'), linearsOf('llama-gqa')]
const ALL: ModuleSelection = { targetModules: 'all-linear', excludeModules: [], layers: null, layersPattern: [] }
const paths = (linears: readonly LinearModule[], selection: Partial<ModuleSelection>): string[] =>
  selectedModules(linears, { ...ALL, ...selection }).map(({ path }) => path)

describe('a selection', () => {
  test('of layers holds for last names, and not for whole paths', () => {
    const whole = 'transformer.h.3.mlp.c_fc'
    expect(paths(gpt2, { targetModules: ['c_attn', whole], layers: [0, 2] })).toEqual([
      'transformer.h.0.attn.c_attn',
      'transformer.h.2.attn.c_attn',
      whole,
    ])
  })

  test('of layers goes by the name of the list of blocks, where one is given', () => {
    const one = { targetModules: ['q_proj'], layers: [1] }
    expect(paths(llama, one)).toEqual(['model.layers.1.self_attn.q_proj'])
    expect(paths(llama, { ...one, layersPattern: ['h', 'layers'] })).toEqual(['model.layers.1.self_attn.q_proj'])
    expect(paths(llama, { ...one, layersPattern: ['h'] })).toEqual([])
  })

  test('says the same as a list or a pattern alone', () => {
    const names = fc.subarray(['c_attn', 'mlp.c_proj', 'attn.c_proj', 'transformer.h.1.mlp.c_fc', 'q_proj', 'transformer.h.0.attn.c_attn'])
    const pattern = fc.constantFrom('.*c_(attn|fc)', String.raw`transformer\.h\.[12]\..*|.*mlp.c_fc`)
    const layers = fc.option(fc.uniqueArray(fc.nat(4), { minLength: 1 }))
    const layersPattern = fc.subarray(['h', 'layers'])
    const excludeModules = fc.oneof(names, pattern)
    const listed = fc.record({ targetModules: names.filter((list) => list.length > 0), excludeModules, layers, layersPattern })
    const matched = fc.record({ targetModules: fc.oneof(pattern, fc.constant('all-linear')), excludeModules })
    fc.assert(
      fc.property(fc.oneof(listed, matched), (given) => {
        const selection: ModuleSelection = { ...ALL, ...given }
        const alone = selectionAsTargets(selection)
        expect(typeof alone === 'string' ? patternProblem(alone) : null).toBeNull()
        expect(paths(gpt2, { targetModules: alone })).toEqual(paths(gpt2, selection))
      }),
    )
  })

  test('is named by last names where they are enough, else by whole paths', () => {
    const named = (selection: Partial<ModuleSelection>) => namesOf(gpt2, selectedModules(gpt2, { ...ALL, ...selection }))
    expect(named({})).toEqual(['c_attn', 'c_proj', 'c_fc'])
    expect(named({ targetModules: '.*attn' })).toEqual(['c_attn'])
    expect(named({ targetModules: '.*0.mlp.c_proj' })).toEqual(['transformer.h.0.mlp.c_proj'])
  })
})

describe('numbers of single modules', () => {
  const some = ['transformer.h.0.attn.c_attn', 'transformer.h.1.attn.c_attn', 'transformer.h.11.attn.c_attn']
  const numbers = (patterns: Record<string, number>): number[] => {
    const values = perModule(some, 8, patterns)
    return some.map((path) => ofModule(values, path))
  }

  test('are those of the first key that matches the last names or the whole path', () => {
    expect(numbers({ '1.attn.c_attn': 2, c_attn: 4 })).toEqual([4, 2, 4])
    expect(numbers({ c_attn: 4, '1.attn.c_attn': 2 })).toEqual([4, 4, 4])
    expect(numbers({ attn: 2, 'h.0': 3, 'transformer.h.0.attn.c_attn': 5 })).toEqual([5, 8, 8])
    expect(numbers({ [String.raw`h\.1\d?\..*`]: 16 })).toEqual([8, 16, 16])
    // Of alternatives each is a key.
    expect(numbers({ '0.attn.c_attn|11.attn.c_attn': 1 })).toEqual([1, 8, 1])
  })

  test('are one number where all are the same', () => {
    expect(perModule(some, 8, {})).toBe(8)
    expect(perModule(some, 8, { c_attn: 3 })).toBe(3)
  })

  test('are the same when they are written by whole path', () => {
    const patterns = { 'h.1.*': 2, c_attn: 4 }
    const written = exceptions(some, perModule(some, 8, patterns), 8)
    expect(Object.keys(written)).toEqual(some)
    expect(numbers(written)).toEqual(numbers(patterns))
    expect(exceptions(some, perModule(some, 8, { '0.attn.c_attn': 8 }), 8)).toEqual({})
  })

  test('tell which keys match nothing, and which cannot be read', () => {
    expect(unmatchedKeys(some, { c_attn: 1, c_fc: 2, 'h.1': 3 })).toEqual(['c_fc', 'h.1'])
    expect(patternKeyProblem('c_(attn')).toBe('a group is not closed')
    expect(patternKeyProblem('c_attn')).toBeNull()
  })
})
