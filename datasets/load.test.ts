import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tinyTokenizer } from '../shared/model/testing/tokenizer.js'
import { scoredTokens, type TokenRow } from '../shared/train/rows.js'
import { loadClientRows, type DataConfig, type LoadOptions } from './load.js'
import type { Years } from './sotu/load.js'

const tokenizer = tinyTokenizer()
const data: DataConfig = {
  dataset: 'sotu',
  path: null,
  partition: null,
  alpha: 0.5,
  max_length: 256,
  completion_only_loss: true,
  eval_fraction: 0.1,
  eval_path: null,
}
const keys = (rows: readonly TokenRow[]): string[] => rows.map(({ ids, scored }) => `${tokenizer.decode(ids)} ${scored.join('')}`)
const sorted = (rows: readonly TokenRow[]): string[] => keys(rows).sort()

let folder: string
const file = async (name: string, rows: readonly object[]): Promise<string> => {
  const path = join(folder, name)
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'))
  return path
}
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-load-'))
})
afterAll(() => rm(folder, { recursive: true }))

const all = async (options: Omit<LoadOptions, 'part'>, count: number): Promise<Awaited<ReturnType<typeof loadClientRows>>[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => loadClientRows({ ...options, part: { index, count } })))

describe('a file of rows', () => {
  const texts = Array.from({ length: 23 }, (_, row) => ({ text: `row number ${row}` }))

  test('is divided among the clients; the parts together are the whole, and each holds out its own share', async () => {
    const path = await file('texts.jsonl', texts)
    const options = { data: { ...data, path, eval_fraction: 0.2 }, seed: 42, tokenizer }
    const clients = await all(options, 4)
    const whole = await loadClientRows({ ...options, part: null })
    expect(sorted(clients.flatMap(({ rows }) => [...rows.train, ...rows.evaluation]))).toEqual(
      sorted([...whole.rows.train, ...whole.rows.evaluation]),
    )
    // Parts of 5, 6, 6 and 6 rows, and a fifth of 23.
    expect(clients.map(({ report }) => report.evalRows)).toEqual([1, 1, 1, 1])
    expect(whole.report).toMatchObject({ trainRows: 18, evalRows: 5, truncated: 0, dropped: 0, description: `23 rows of ${path}` })
    expect(clients[0].report).toMatchObject({ trainRows: 4, description: `5 rows of ${path}` })
  })

  test('for one client that holds all parts has the same rows in training and held out as the parts have', async () => {
    const path = await file('texts.jsonl', texts)
    const options = { data: { ...data, path }, seed: 42, tokenizer }
    const clients = await all(options, 4)
    const together = await loadClientRows({ ...options, part: null, parts: 4 })
    expect(sorted(together.rows.train)).toEqual(sorted(clients.flatMap(({ rows }) => rows.train)))
    expect(sorted(together.rows.evaluation)).toEqual(sorted(clients.flatMap(({ rows }) => rows.evaluation)))
  })

  test('keeps its order within a part, gives the same rows again, and others for another seed', async () => {
    const path = await file('texts.jsonl', texts)
    const options = { data: { ...data, path, eval_fraction: 0 }, tokenizer, part: { index: 1, count: 2 } }
    const first = await loadClientRows({ ...options, seed: 1 })
    const numbers = first.rows.train.map(({ ids }) => Number(/\d+/.exec(tokenizer.decode(ids))?.[0]))
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    expect(first.report.evalRows).toBe(0)
    expect(await loadClientRows({ ...options, seed: 1 })).toEqual(first)
    expect(keys((await loadClientRows({ ...options, seed: 2 })).rows.train)).not.toEqual(keys(first.rows.train))
  })

  test('goes by client where rows name one, and the report says whose they are', async () => {
    const path = await file(
      'owned.jsonl',
      ['ann', 'bob', 'ann', 'cy', 'bob'].map((client, row) => ({ text: `${client} wrote ${row}`, client })),
    )
    const clients = await all({ data: { ...data, path }, seed: 1, tokenizer }, 3)
    expect(clients.map(({ report }) => report.description).sort()).toEqual(['ann', 'bob', 'cy'])
    for (const { rows, report } of clients) {
      for (const text of keys([...rows.train, ...rows.evaluation])) expect(text.startsWith(report.description)).toBe(true)
    }
    // Two rows or more: one is held out. One row: it is trained on.
    expect(clients.map(({ report }) => [report.trainRows, report.evalRows].join()).sort()).toEqual(['1,0', '1,1', '1,1'])
  })

  test('with eval_path keeps all its rows for training, and each client evaluates on a part of that file', async () => {
    const path = await file('texts.jsonl', texts)
    const evalPath = await file(
      'held-out.jsonl',
      Array.from({ length: 5 }, (_, row) => ({ text: `held out ${row}` })),
    )
    const options = { data: { ...data, path, eval_path: evalPath }, seed: 42, tokenizer }
    const clients = await all(options, 2)
    expect(clients.map(({ report }) => [report.trainRows, report.evalRows])).toEqual([
      [11, 2],
      [12, 3],
    ])
    const whole = await loadClientRows({ ...options, part: null })
    expect(sorted(clients.flatMap(({ rows }) => rows.evaluation))).toEqual(sorted(whole.rows.evaluation))
    expect(whole.report).toMatchObject({ trainRows: 23, evalRows: 5 })
  })

  test('counts what was cut, what was dropped, and the tokens that train', async () => {
    const path = await file('prompts.jsonl', [
      { prompt: 'abcdefgh', completion: 'xy' },
      { prompt: 'ab', completion: 'xyxyxyxy' },
      { prompt: 'ab', completion: 'xy' },
    ])
    const options = { data: { ...data, path, max_length: 8, eval_fraction: 0 }, seed: 1, tokenizer, part: null }
    const { rows, report } = await loadClientRows(options)
    expect(report).toMatchObject({ trainRows: 2, truncated: 2, dropped: 1, trainTokens: 8 + 5, scoredTokens: 6 + 3 })
    expect(rows.train.reduce((sum, row) => sum + scoredTokens(row), 0)).toBe(9)
  })

  test('too small for its clients, or without a scored token, is an error that names the part', async () => {
    const path = await file('one.jsonl', [{ text: 'alone' }])
    const options = { data: { ...data, path }, seed: 1, tokenizer }
    const results = await Promise.allSettled([0, 1].map((index) => loadClientRows({ ...options, part: { index, count: 2 } })))
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(results.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { code: 'NO_TRAINING_ROWS', what: expect.stringContaining('of 2') as string },
    })
    const prompts = await file('long.jsonl', [{ prompt: 'a long prompt', completion: 'x' }])
    await expect(loadClientRows({ ...options, data: { ...data, path: prompts, max_length: 4 }, part: null })).rejects.toMatchObject({
      code: 'NO_TRAINING_ROWS',
      why: expect.stringContaining('1 were dropped') as string,
    })
  })
})

describe('speeches', () => {
  const years: Years = { fromYear: 2000, toYear: 2004 } // one by Clinton, four by Bush
  const options = { data: { ...data, max_length: 512 }, seed: 42, tokenizer, years }

  test('go to clients by president, and whole speeches are held out', async () => {
    const clients = await all(options, 2)
    expect(clients.map(({ report }) => report.description)).toEqual(['George W Bush', 'William J Clinton'])
    expect(clients[1].report.evalRows).toBe(0)
    const [bush] = clients
    // A speech ends with eos; three of four train.
    const ends = (rows: readonly TokenRow[]): number => rows.filter(({ ids }) => ids.at(-1) === tokenizer.eosId).length
    expect([ends(bush.rows.train), ends(bush.rows.evaluation)]).toEqual([3, 1])
    for (const row of [...bush.rows.train, ...bush.rows.evaluation]) {
      expect(row.ids.length).toBeLessThanOrEqual(512)
      expect([...row.scored]).toEqual(Array.from(row.ids, (_, position) => (position === 0 ? 0 : 1)))
    }
    expect(bush.report.trainTokens).toBe(bush.report.scoredTokens + bush.report.trainRows)
  })

  test('of all parts together are the whole', async () => {
    const clients = await all(options, 2)
    const whole = await loadClientRows({ ...options, part: null })
    expect(sorted(clients.flatMap(({ rows }) => [...rows.train, ...rows.evaluation]))).toEqual(
      sorted([...whole.rows.train, ...whole.rows.evaluation]),
    )
  })

  test('of two presidents do not make three clients, unless they are divided speech by speech', async () => {
    await expect(loadClientRows({ ...options, part: { index: 0, count: 3 } })).rejects.toMatchObject({
      code: 'CONFIG_VALUE',
      why: expect.stringContaining('only 2 owners') as string,
    })
    const iid = await all({ ...options, data: { ...options.data, partition: 'iid' } }, 3)
    expect(iid.map(({ report }) => report.description.length > 0)).toEqual([true, true, true])
  })
})
