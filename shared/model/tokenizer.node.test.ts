import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tinyTokenizerFiles } from './testing/tokenizer.js'
import { loadTokenizer } from './tokenizer.node.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tokenizer-'))
})
afterEach(() => rm(folder, { recursive: true }))

const put = (file: string, content: unknown): Promise<void> =>
  writeFile(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content))

test('a folder with tokenizer.json is enough; eos then comes from config.json', async () => {
  await put('tokenizer.json', tinyTokenizerFiles().tokenizer)
  await put('config.json', { eos_token_id: 267, model_type: 'gpt2' })
  const tokenizer = await loadTokenizer(folder)
  expect([...tokenizer.encode('an', { specialTokens: true })]).toEqual([259])
  expect(tokenizer).toMatchObject({ eosId: 267, bosId: null })
})

test('tokenizer_config.json and special_tokens_map.json name the special tokens', async () => {
  const { tokenizer, config } = tinyTokenizerFiles()
  await put('tokenizer.json', tokenizer)
  await put('special_tokens_map.json', { bos_token: { content: '<|endoftext|>', lstrip: false } })
  expect(await loadTokenizer(folder)).toMatchObject({ eosId: null, bosId: 267 })
  await put('tokenizer_config.json', config)
  expect(await loadTokenizer(folder)).toMatchObject({ eosId: 267, bosId: 267 })
})

test('a folder without tokenizer.json, and no folder at all, say how to get one', async () => {
  await expect(loadTokenizer(folder)).rejects.toMatchObject({
    code: 'TOKENIZER_MISSING',
    fix: expect.stringContaining('save_pretrained') as string,
  })
  await expect(loadTokenizer(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'TOKENIZER_MISSING' })
})

test('a file that does not parse is named', async () => {
  await put('tokenizer.json', tinyTokenizerFiles().tokenizer)
  await put('tokenizer_config.json', '{"eos_token": ')
  await expect(loadTokenizer(folder)).rejects.toMatchObject({
    code: 'MODEL_CORRUPT',
    why: expect.stringContaining('tokenizer_config.json') as string,
  })
})
