import { describe, expect, test } from 'vitest'
import { UserError } from '../errors.js'
import { parseConfig } from './parse.js'
import { parseConfigSeries } from './seeds.js'

describe('a list of seeds', () => {
  test('is one config for each, which differ in their seed alone', () => {
    const { configs, isList } = parseConfigSeries({ train: { seed: [3, 1], optim: 'sgd' } })
    expect(isList).toBe(true)
    expect(configs).toEqual([3, 1].map((seed) => parseConfig({ train: { seed, optim: 'sgd' } })))
  })

  test('may be of one, and is a list all the same', () => {
    expect(parseConfigSeries({ train: { seed: [7] } })).toMatchObject({ configs: [{ train: { seed: 7 } }], isList: true })
  })

  test.each([
    ['an empty one', [], 'it says [], and at least one seed is expected'],
    ['one that names a seed twice', [1, 2, 1], 'it says [1,2,1], and each seed once (the same seed gives the same run) is expected'],
    ['one with a fraction', [1, 2.5], 'it says [1,2.5], and a list of whole numbers of at least 0 is expected'],
    ['one with a number below 0', [-1], 'it says [-1], and a list of whole numbers of at least 0 is expected'],
    ['a list of lists', [[1]], 'it says [[1]], and a list of whole numbers of at least 0 is expected'],
  ])('is refused: %s', (_, seed, why) => {
    const report = { code: 'CONFIG_VALUE', what: 'series.yaml has a wrong value for train.seed', why }
    expect(() => parseConfigSeries({ train: { seed } }, 'series.yaml')).toThrow(expect.objectContaining(report) as Error)
  })

  test('does not hide what else is wrong', () => {
    expect(() => parseConfigSeries({ train: { seed: [1, 2], optim: 'lion' } })).toThrow(/train\.optim/)
    expect(() => parseConfigSeries({ train: { seeds: [1, 2] } })).toThrow(UserError)
  })

  test('is refused by name where there is one run only', () => {
    const report = { code: 'CONFIG_VALUE', why: 'train.seed says [1,2]; only `cutlayer run` makes one run for each' }
    expect(() => parseConfig({ train: { seed: [1, 2] } })).toThrow(expect.objectContaining(report) as Error)
  })
})

test.each([[{}], [{ train: { seed: 9 } }], [null]])('%j is a series of one run, and no list', (raw) => {
  expect(parseConfigSeries(raw)).toEqual({ configs: [parseConfig(raw)], isList: false })
})
