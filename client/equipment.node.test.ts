import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadClientRows } from '../datasets/load.js'
import { parseConfig } from '../shared/config/parse.js'
import { ClientConfig, clientConfigOf } from '../shared/config/schema.js'
import { type UserError } from '../shared/errors.js'
import { modelDigest } from '../shared/model/digest.js'
import { openModel } from '../shared/model/model.node.js'
import { createTokenizer } from '../shared/model/tokenizer.js'
import { tinyTokenizer, tinyTokenizerFiles } from '../shared/model/testing/tokenizer.js'
import type { Part } from '../shared/protocol/messages.js'
import type { FileSource } from './file-requests.js'
import { openData, openRunModel, withoutRows, type DataChoice } from './equipment.node.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-equipment-'))
  process.env.CUTLAYER_CACHE = join(folder, 'cache')
  const rows = (count: number, letter: string): string => Array.from({ length: count }, () => `{"text": "${letter}${letter}"}\n`).join('')
  await writeFile(join(folder, 'config.jsonl'), rows(20, 'a'))
  await writeFile(join(folder, 'own.jsonl'), rows(10, 'b'))
})
afterAll(() => rm(folder, { recursive: true }))

const model = {
  name: 'tiny',
  architecture: { layers: 2, hiddenSize: 8, vocabularySize: 300, maxPositions: 64 },
  tokenizer: async () => tinyTokenizer(),
}
const byDefault: DataChoice = { client: 'client-0', ownFile: null, datasetFile: null, part: null, trustsConfigPaths: true }

function open(choice: Partial<DataChoice>, part: Part | null = null, groups: object = {}, given = model) {
  const config = clientConfigOf(parseConfig({ data: { path: join(folder, 'config.jsonl'), max_length: 32 }, ...groups }))
  return openData({ config, part }, given, { ...byDefault, ...choice }, loadClientRows)
}

describe('a client trains on', () => {
  test('the part that the server gives it', async () => {
    const { report } = await open({}, { index: 1, count: 4 })
    expect([report.trainRows, report.evalRows]).toEqual([4, 1])
  })

  test('the part that it asked for, where the server gives none', async () => {
    const { report } = await open({ part: { index: 0, count: 2 } })
    expect([report.trainRows, report.evalRows]).toEqual([9, 1])
  })

  test('all parts together in a centralized run, holding out what their clients would', async () => {
    const { data } = await open({}, null, { split: { topology: 'centralized' } })
    expect([data.examples, data.evalExamples]).toEqual([16, 4])
  })

  test('its own file, whatever the config has, and whether or not the config could be opened', async () => {
    const own = { ownFile: join(folder, 'own.jsonl'), trustsConfigPaths: false }
    const groups = { data: { path: join(folder, 'missing.jsonl'), eval_path: join(folder, 'missing.jsonl'), partition: 'natural' } }
    const { data } = await open(own, null, groups)
    expect([data.examples, data.evalExamples]).toEqual([9, 1])
  })

  test('its own data set, or what stands here for the one that the config names', async () => {
    const path = join(folder, 'own.mjs')
    await writeFile(path, "export default function* rows() { for (let row = 0; row < 10; row++) yield { text: 'cc' } }")
    const { data } = await open({ ownFile: path })
    expect([data.examples, data.evalExamples]).toEqual([9, 1])
    const named = { data: { dataset: './elsewhere/own.mjs', max_length: 32 } }
    const { data: part } = await open({ datasetFile: path }, { index: 0, count: 2 }, named)
    expect([part.examples, part.evalExamples]).toEqual([4, 1])
  })

  test('a part of its own file', async () => {
    const { data } = await open({ ownFile: join(folder, 'own.jsonl'), part: { index: 1, count: 2 } })
    expect([data.examples, data.evalExamples]).toEqual([4, 1])
  })
})

describe('a client refuses', () => {
  test('to open a file that a server on another machine names', async () => {
    await expect(open({ trustsConfigPaths: false }, { index: 0, count: 4 })).rejects.toMatchObject({
      code: 'DATA_NOT_FOUND',
      fix: expect.stringContaining('--data') as string,
    })
  })

  test('to run code that a server names, on whatever machine the server is', async () => {
    const path = join(folder, 'hostile.mjs')
    await writeFile(path, "globalThis.cutlayerWasTricked = true; export default [{ text: 'aa' }]")
    const groups = [
      { data: { dataset: path, max_length: 32 } },
      { data: { dataset: path, eval_path: join(folder, 'own.jsonl'), max_length: 32 } },
    ]
    for (const named of groups)
      for (const choice of [{ trustsConfigPaths: true }, { part: { index: 0, count: 1 } }, { trustsConfigPaths: false }])
        await expect(open(choice, { index: 0, count: 1 }, named)).rejects.toMatchObject({
          code: 'DATA_NOT_FOUND',
          fix: expect.stringContaining('--data') as string,
        })
    // Rows are read, and never run, whatever they are called.
    const config = clientConfigOf(parseConfig({ data: { path: 'rows.jsonl' } }))
    for (const key of ['path', 'eval_path']) {
      const sent = { ...config, data: { ...config.data, [key]: path } }
      expect(ClientConfig.safeParse(sent).success).toBe(false)
      const welcome = { config: sent, part: { index: 0, count: 1 } }
      await expect(openData(welcome, model, byDefault, loadClientRows)).rejects.toMatchObject({
        code: expect.stringMatching(/^DATA_/) as string,
      })
    }
    expect('cutlayerWasTricked' in globalThis).toBe(false)
  })

  test('a config whose file is not here, and says where it looked', async () => {
    const groups = { data: { path: 'nowhere.jsonl' } }
    await expect(open({}, { index: 0, count: 4 }, groups)).rejects.toMatchObject({
      code: 'DATA_NOT_FOUND',
      why: expect.stringContaining(join(process.cwd(), 'nowhere.jsonl')) as string,
    })
  })

  test.each([null, { index: 4, count: 4 }])('the part %j, which does not exist', async (part) => {
    await expect(open({}, part)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
  })

  test('rows that the model has no tokens or no room for', async () => {
    const small = { ...model, architecture: { ...model.architecture, vocabularySize: 96 } }
    await expect(open({}, { index: 0, count: 4 }, {}, small)).rejects.toMatchObject({ code: 'TOKENIZER_MISMATCH' })
    const short = { ...model, architecture: { ...model.architecture, maxPositions: 2 } }
    await expect(open({}, { index: 0, count: 4 }, {}, short)).rejects.toMatchObject({ code: 'CONFIG_VALUE' })
  })
})

test('what is wrong with a row stays with the client, what is wrong with the model does not', async () => {
  await writeFile(join(folder, 'secret.jsonl'), 'my secret diary\n')
  const error = await open({ ownFile: join(folder, 'secret.jsonl') }).catch((thrown: unknown) => thrown as UserError)
  expect(error).toMatchObject({ code: 'DATA_ROW_INVALID', why: expect.stringContaining('secret') as string })
  const told = withoutRows(error as UserError)
  expect(told.code).toBe('DATA_ROW_INVALID')
  expect(JSON.stringify(told.report())).not.toContain('secret')
  const broken = { ...model, tokenizer: async () => createTokenizer({ ...tinyTokenizerFiles(), tokenizer: {} }, 'tiny') }
  const modelError = await open({}, { index: 0, count: 4 }, {}, broken).catch((thrown: unknown) => thrown as UserError)
  expect(withoutRows(modelError as UserError)).toBe(modelError)
})

test('without a folder the shipped model is taken if it is the server’s, and the server is asked for any other', async () => {
  const { digest, definition, architecture } = await openModel(null)
  const tensors = Object.fromEntries(digest.tensors)
  const layers = architecture.layers
  const card = { name: 'some', digest: digest.model, family: definition.family.name, layers, hidden_size: architecture.hiddenSize, tensors }
  const limits = { max_chunk_bytes: 2 ** 20, max_message_bytes: 2 ** 28, heartbeat_s: 5 }
  const config = clientConfigOf(parseConfig({}))
  const asked: string[] = []
  const files: FileSource = {
    async list() {
      asked.push('list')
      throw new Error('no more is needed here')
    },
    piece: async () => new Uint8Array(0),
  }
  expect((await openRunModel({ model: card, limits, config }, null, files)).digest.model).toBe(digest.model)
  expect(asked).toEqual([])
  const other = { name: 'wte', dtype: 'F32', shape: [1], bytesSha256: 'f'.repeat(64) }
  const { model: otherDigest, tensors: otherTensors } = await modelDigest([other])
  const otherCard = { ...card, digest: otherDigest, tensors: Object.fromEntries(otherTensors) }
  await expect(openRunModel({ model: otherCard, limits, config }, null, files)).rejects.toThrow('no more is needed here')
  expect(asked).toEqual(['list'])
})
