import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../../shared/config/parse.js'
import { derive } from '../../shared/random.js'
import { f32, type NamedTensors } from '../../shared/tensor.js'
import { weightedMean } from './mean.js'
import { loadStrategy } from './own.js'
import type { AdapterReply, AggregationContext, Strategy } from './strategy.js'

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-strategy-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(code: string, name = `strategy-${count++}.mjs`): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, code)
  return path
}

const load = async (path: string, options: Record<string, unknown> = {}) =>
  loadStrategy(parseConfig({ federation: { strategy: path, strategy_options: options } }).federation)
const strategyOf = async (body: string): Promise<Strategy> =>
  (await load(await file(`export default { create: () => ({ ${body} }) }`))).strategy

const tensors = (values: readonly number[]): NamedTensors => new Map([['w', f32([values.length], values)]])
const reply = (client: string, weight: number, values: readonly number[]): AdapterReply => {
  const moments = { updates: 3, mean: new Map(tensors(values)), square: new Map(tensors(values)) }
  return { client, weight, examples: 10, tokens: 100, adapter: tensors(values), moments }
}
const REPLIES = [reply('a', 0.25, [4, 0]), reply('b', 0.75, [0, 8])]
const CONTEXT: AggregationContext = {
  round: 2,
  adapter: tensors([1, 1]),
  state: null,
  random: derive(1, 'test'),
  average: () => weightedMean(REPLIES.map(({ client, weight, adapter }) => ({ client, weight, tensors: adapter }))),
}
const valuesOf = (answer: NamedTensors): number[] => [...answer.get('w')!.data]

describe("a strategy of the user's own", () => {
  test('is a plain object that imports nothing, and is told by its name and the digest of its file', async () => {
    const path = await file(`export default {
      name: 'halfway',
      create: ({ share }) => ({
        aggregate(replies, { adapter, average }) {
          const next = new Map()
          for (const [name, tensor] of average())
            next.set(name, { shape: tensor.shape, data: tensor.data.map((x, i) => (1 - share) * adapter.get(name).data[i] + share * x) })
          return { adapter: next }
        },
      }),
    }`)
    const { strategy, file: found } = await load(path, { share: 0.5 })
    expect(strategy.name).toBe('halfway')
    expect(found).toEqual({
      path,
      sha256: createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    })
    // Halfway from [1, 1] to the mean [1, 6].
    expect(valuesOf(strategy.aggregate(REPLIES, CONTEXT).adapter)).toEqual([1, 3.5])
  })

  test('may be CommonJS, also as compilers write it', async () => {
    const definition = '{ create: () => ({ aggregate: (replies, { average }) => ({ adapter: average() }) }) }'
    for (const code of [`module.exports = ${definition}`, `exports.__esModule = true; exports.default = ${definition}`]) {
      const { strategy } = await load(await file(code, `common-${count++}.cjs`))
      expect(valuesOf(strategy.aggregate(REPLIES, CONTEXT).adapter)).toEqual([1, 6])
    }
  })

  test('is called as its file without a name of its own', async () => {
    const path = await file('export default { create: () => ({ aggregate: (_, { average }) => ({ adapter: average() }) }) }', 'mine.mjs')
    expect((await load(path)).strategy.name).toBe('mine')
  })

  test('has its options checked by what it gives for that, and gets them as that answers', async () => {
    const path = await file(`export default {
      options: { parse: (given) => { if (given.mu < 0) throw new Error('mu: below 0'); return { mu: given.mu ?? 0.5 } } },
      create: ({ mu }) => ({ aggregate: (_, { adapter }) => ({ adapter: new Map([['w', { shape: [2], data: [mu, mu] }]]) }) }),
    }`)
    expect(valuesOf((await load(path)).strategy.aggregate(REPLIES, CONTEXT).adapter)).toEqual([0.5, 0.5])
    await expect(load(path, { mu: -1 })).rejects.toMatchObject({ code: 'CONFIG_VALUE', why: 'mu: below 0' })
  })

  test('keeps what it wants in state, and may give moments of its own, or none', async () => {
    const strategy = await strategyOf(`aggregate: ([{ adapter }], { state }) =>
      ({ adapter, moments: null, state: new Map([['seen', { shape: [], data: [1 + (state?.get('seen').data[0] ?? 0)] }]]) })`)
    const first = strategy.aggregate(REPLIES, CONTEXT)
    const second = strategy.aggregate(REPLIES, { ...CONTEXT, state: first.state! })
    expect([first.moments, [...second.state!.get('seen')!.data]]).toEqual([null, [2]])
  })

  test('leaves moments to the average unless it says otherwise', async () => {
    const answer = (await strategyOf('aggregate: (_, { average }) => ({ adapter: average() })')).aggregate(REPLIES, CONTEXT)
    expect('moments' in answer).toBe(false)
  })

  test('selects by the fractions of the config unless it selects itself, and then in any order', async () => {
    const random = derive(1, 'test')
    const standard = await strategyOf('aggregate() {}')
    expect(standard.selectTrain(['a', 'b'], random, 1)).toEqual(['a', 'b'])
    const own = await strategyOf('aggregate() {}, selectTrain: (ready, random, round) => round === 1 ? ["c", "a"] : ["x"]')
    expect(own.selectTrain(['a', 'b', 'c'], random, 1)).toEqual(['a', 'c'])
    expect(() => own.selectTrain(['a'], random, 2)).toThrow(expect.objectContaining({ code: 'BAD_STRATEGY' }) as Error)
  })

  test('cannot change the adapter that the last round left', async () => {
    const strategy = await strategyOf("aggregate(_, { adapter }) { adapter.get('w').data.fill(9); throw new Error('no') }")
    expect(() => strategy.aggregate(REPLIES, CONTEXT)).toThrow()
    expect(valuesOf(CONTEXT.adapter)).toEqual([1, 1])
  })

  test('is read again where its file has changed', async () => {
    const code = (value: number) =>
      `export default { create: () => ({ aggregate: () => ({ adapter: new Map([['w', { shape: [2], data: [${value}, 0] }]]) }) }) }`
    const path = await file(code(1), 'changing.mjs')
    expect(valuesOf((await load(path)).strategy.aggregate(REPLIES, CONTEXT).adapter)).toEqual([1, 0])
    await file(code(2), 'changing.mjs')
    expect(valuesOf((await load(path)).strategy.aggregate(REPLIES, CONTEXT).adapter)).toEqual([2, 0])
  })
})

describe('an answer that cannot be used names file, tensor and what is wrong:', () => {
  test.each([
    ['undefined', 'it is not an object with an adapter'],
    ['Promise.resolve({})', 'it is a promise'],
    ['({ adapter: {} })', 'adapter is not a Map'],
    ['({ adapter: new Map() })', 'adapter lacks w'],
    ["({ adapter: new Map([['v', { shape: [2], data: [1, 2] }]]) })", 'adapter has v, which no client sent'],
    ["({ adapter: new Map([['w', { shape: [3], data: [1, 2, 3] }]]) })", 'w of adapter is [3], and has to be [2]'],
    ["({ adapter: new Map([['w', { shape: [2], data: [1] }]]) })", 'has 1 values, and its shape [2] has 2'],
    ["({ adapter: new Map([['w', { shape: [2], data: [1, NaN] }]]) })", 'value 1 of w of adapter is NaN'],
    ["({ adapter: new Map([['w', { shape: [2], data: [1e300, 0] }]]) })", 'value 0 of w of adapter is Infinity'],
    ["({ adapter: new Map([['w', { shape: [2], data: 'ab' }]]) })", 'neither a Float32Array nor a list'],
    ['({ adapter: given.adapter, moments: { updates: 0.5 } })', 'moments.updates is not a whole number'],
    [
      "({ adapter: given.adapter, moments: { updates: 1, mean: given.adapter, square: new Map([['w', { shape: [2], data: [1, -1] }]]) } })",
      'w of moments.square has a value below 0',
    ],
    ['({ adapter: given.adapter, state: 3 })', 'state is not a Map'],
  ])('%s', async (answer, why) => {
    const path = await file(`export default { create: () => ({ aggregate: (replies, given) => ${answer} }) }`)
    const { strategy } = await load(path)
    const error = expect.objectContaining({
      code: 'BAD_STRATEGY',
      what: `the strategy in ${path} cannot be used`,
      why: expect.stringMatching(/^what aggregate in round 2 answered is wrong: /) as string,
    }) as Error
    expect(() => strategy.aggregate(REPLIES, CONTEXT)).toThrow(error)
    expect(() => strategy.aggregate(REPLIES, CONTEXT)).toThrow(why)
  })
})

describe('a file that is no strategy is refused before anything is done with it:', () => {
  test.each([
    ['export const name = "x"', 'it has no default export'],
    ['export default 3', 'its default export is a number'],
    ['export default {}', 'no function called create'],
    ['export default { name: "", create() {} }', 'its name is not a text'],
    ['export default { options: {}, create() {} }', 'its options have no function called parse'],
    ['export default { create: () => ({}) }', 'no function called aggregate'],
    ['export default { create: () => ({ aggregate() {}, selectTrain: 1 }) }', 'selectTrain is not a function'],
    ['\nthrow new TypeError("no luck")', 'importing it threw TypeError: no luck (line 2)'],
    ['export default {\n  create() {\n    return missing()\n  },\n}', 'create threw ReferenceError: missing is not defined (line 3)'],
  ])('%s', async (code, why) => {
    const path = await file(code)
    await expect(load(path)).rejects.toMatchObject({ code: 'BAD_STRATEGY', why: expect.stringContaining(why) as string })
  })

  test('one that is not there', async () => {
    const why = expect.stringContaining('there is no such file; looked for ') as string
    await expect(load(join(folder, 'nowhere.js'))).rejects.toMatchObject({ code: 'BAD_STRATEGY', why })
  })
})
