import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tinyTokenizer } from '../shared/model/testing/tokenizer.js'
import { loadClientRows, openSource } from './load.js'
import { ownSource } from './own.js'
import { parseRows, rowSource } from './rows.js'
import type { DataSource } from './source.js'

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-data-set-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(code: string): Promise<string> {
  const path = join(folder, `rows-${count++}.mjs`)
  await writeFile(path, code)
  return path
}

const OPTIONS = { maxLength: 6, completionOnlyLoss: true }
const unitsOf = ({ units }: DataSource) =>
  units.map(({ owner, label, characters, tokenise }) => ({ owner, label, characters, tokens: tokenise(tinyTokenizer(), OPTIONS) }))

const ROWS = [
  { text: 'the state', client: 'anna', label: 3 },
  { prompt: 'in', completion: ' the', client: 'ben' },
  { instruction: 'say', output: 'thé', client: 'ben' },
]

describe("a data set of the user's own gives the rows of a JSONL file with the same objects, be it", () => {
  const list = JSON.stringify(ROWS)
  test.each([
    ['an async generator', `export default async function* rows() { for (const row of ${list}) yield row }`],
    ['a generator', `export default function* rows() { yield* ${list} }`],
    ['a function', `export default () => ${list}`],
    ['a function that reads first', `export default async () => ${list}`],
    ['a list', `export default ${list}`],
  ])('%s', async (_, code) => {
    const path = await file(code)
    const lines = new TextEncoder().encode(ROWS.map((row) => JSON.stringify(row)).join('\n'))
    const source = await ownSource(path)
    expect(unitsOf(source)).toEqual(unitsOf(rowSource(parseRows(lines, 'rows.jsonl'), 'rows.jsonl')))
    expect([source.name, source.units[1].place]).toEqual([path, `${path}, row 2`])
  })
})

describe('units that make their own tokens', () => {
  test('are cut at the longest length, and left out without a scored token; their bytes are counted', async () => {
    const source = await ownSource(
      await file(`export default () => ({ units: [{
        owner: 'anna',
        characters: 9,
        tokenise: (tokenizer, { maxLength }) => ({ rows: [
          { ids: tokenizer.encode('the cat', { specialTokens: false }), scored: [...tokenizer.encode('the cat', { specialTokens: false })].map((_, i) => i > 0 ? 1 : 0) },
          { ids: new Array(maxLength + 2).fill(97), scored: [0, 1, 1, 1, 1, 1, 1, 1] },
          { ids: [97, 98], scored: [0, 0] },
        ] }),
      }] })`),
    )
    const [{ owner, characters, tokens }] = unitsOf(source)
    expect([owner, characters, tokens.truncated, tokens.dropped, tokens.rows.length]).toEqual(['anna', 9, 1, 1, 2])
    const tokenizer = tinyTokenizer()
    const ids = tokenizer.encode('the cat', { specialTokens: false }).slice(0, 6)
    expect(tokens.rows[0].ids).toEqual(ids)
    expect(tokens.rows[0].bytes).toBe(tokenizer.textBytes(ids.slice(1)))
    expect([...tokens.rows[1].ids]).toEqual([97, 97, 97, 97, 97, 97])
    expect(source.units[0].isTrial).toBe(true)
  })

  test.each([
    ['3', 'it is not an object'],
    ['{}', 'no function called tokenise'],
    ['{ owner: 3, tokenise() {} }', 'owner'],
    ['{ characters: -1, tokenise() {} }', 'characters'],
  ])('are refused as %s', async (unit, why) => {
    await expect(ownSource(await file(`export default { units: [{ tokenise() {} }, ${unit}] }`))).rejects.toMatchObject({
      code: 'DATA_ROW_INVALID',
      what: expect.stringContaining('unit 2') as string,
      why: expect.stringContaining(why) as string,
    })
  })

  test.each([
    ['{ throw new Error("no luck") }', 'tokenise threw Error: no luck'],
    ['{}', 'did not answer with { rows'],
    ['{ return { rows: [3] } }', 'not an object'],
    ['{ return { rows: [{ ids: [1.5, 2], scored: [0, 1] }] } }', 'whole numbers'],
    ['{ return { rows: [{ ids: [1, 2], scored: [0] }] } }', 'a 0 or 1 for each'],
    ['{ return { rows: [{ ids: [1, 2], scored: [0, 2] }] } }', 'a 0 or 1 for each'],
    ['{ return { rows: [{ ids: [1, 2], scored: [1, 1] }] } }', 'first token is scored'],
  ])('are refused when tokenise is () => %s', async (body, why) => {
    const { units } = await ownSource(await file(`export default { units: [{ tokenise: () => ${body} }] }`))
    expect(() => units[0].tokenise(tinyTokenizer(), OPTIONS)).toThrow(
      expect.objectContaining({ code: 'DATA_ROW_INVALID', why: expect.stringContaining(why) as string }) as Error,
    )
  })
})

describe('a file that is no data set is refused with what is wrong with it:', () => {
  test.each([
    ['export const rows = []', 'DATA_SET_FAILED', 'no default export'],
    ['export default 3', 'DATA_SET_FAILED', 'neither rows nor { units }'],
    ["export default 'text'", 'DATA_SET_FAILED', 'neither rows nor { units }'],
    ['export default []', 'DATA_EMPTY', 'gives none'],
    ['export default { units: [] }', 'DATA_EMPTY', 'units'],
    ['throw new Error("no luck")', 'DATA_SET_FAILED', 'importing it threw Error: no luck (line 1)'],
    ['export default function* () {\n  yield { text: "a" }\n  missing()\n}', 'DATA_SET_FAILED', 'missing is not defined (line 3)'],
    ['export default [{ text: "a" }, { txt: "b" }]', 'DATA_ROW_INVALID', 'row 2: the row cannot be used: the row has neither "text"'],
    ['export default [{ text: "a" }, "b"]', 'DATA_ROW_INVALID', 'row 2: the row cannot be used: it is not an object'],
    ['export default [{ text: "a", client: 3 }]', 'DATA_ROW_INVALID', 'row 1: the row cannot be used: "client" is not a string'],
  ])('%s', async (code, errorCode, words) => {
    const error = ownSource(await file(code))
    await expect(error).rejects.toMatchObject({ code: errorCode })
    await expect(error).rejects.toThrow(words)
  })

  test('one that is not there', async () => {
    await expect(ownSource(join(folder, 'nowhere.js'))).rejects.toMatchObject({ code: 'DATA_NOT_FOUND' })
  })
})

describe('a data set by path', () => {
  test('is divided by client like any other', async () => {
    const path = await file(`export default ${JSON.stringify(ROWS)}`)
    const data = {
      ...{ dataset: path, path: null, partition: null, alpha: 0.5, max_length: 400 },
      ...{ completion_only_loss: true, eval_fraction: 0, eval_path: null },
    }
    const load = (index: number) =>
      loadClientRows({ data, seed: 1, tokenizer: tinyTokenizer(), part: { index, count: 2 }, datasetFile: path })
    const reports = [(await load(0)).report, (await load(1)).report].map(({ description, trainRows }) => `${description} ${trainRows}`)
    expect(reports.sort()).toEqual(['anna 1', 'ben 2'])
  })

  test('is not run unless this process was told to', async () => {
    const path = await file('globalThis.cutlayerHasRun = true; export default [{ text: "a" }]')
    await expect(openSource({ dataset: path, path: null }, null)).rejects.toMatchObject({
      code: 'DATA_NOT_FOUND',
      fix: expect.stringContaining('--data, or, if') as string,
    })
    expect('cutlayerHasRun' in globalThis).toBe(false)
  })
})
