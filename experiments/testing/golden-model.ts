/**
 * @file The golden models as folders that commands can open: with a tokenizer, which they lack, whose every token is one character.
 */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { goldenFile, readTensors } from '../../shared/model/testing/golden.js'
import type { I32Tensor } from '../../shared/tensor.js'

const VOCABULARY = 96
/** Ids 0 to 93 are the printable characters from `!` to `~`; then space and line feed, as GPT-2's byte alphabet writes them. */
const ALPHABET = [...Array.from({ length: 94 }, (_, id) => String.fromCharCode(0x21 + id)), 'Ġ', 'Ċ']

/** Copies a golden model into an empty folder, with a tokenizer. @param options.eos whether `#`, id 2, ends every row */
export async function writeGoldenModel(folder: string, name: string, options: { eos: boolean; zeros?: boolean }): Promise<void> {
  await cp(goldenFile(name, 'model'), folder, { recursive: true })
  await editJson(join(folder, 'config.json'), (config) => {
    if (!options.eos) delete config.eos_token_id
  })
  await editJson(join(folder, 'generation_config.json'), (config) => {
    if (!options.eos) delete config.eos_token_id
  }).catch(() => {}) // not every case has one
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const vocab = Object.fromEntries(ALPHABET.map((character, id) => [character, id]))
  const model = { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, vocab, merges: [] }
  const parts = { normalizer: null, pre_tokenizer: byteLevel, post_processor: byteLevel, decoder: byteLevel, added_tokens: [], model }
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify({ version: '1.0', truncation: null, padding: null, ...parts }))
  if (options.zeros) await zeroWeights(join(folder, 'model.safetensors'))
}

/** The text whose tokens are these ids. */
export function goldenText(ids: ArrayLike<number>): string {
  return Array.from(ids, (id) => {
    if (!(id >= 0 && id < VOCABULARY)) throw new Error(`no token ${id}`)
    return ALPHABET[id].replace('Ġ', ' ').replace('Ċ', '\n')
  }).join('')
}

/** The rows of a golden case's batch as lines of a JSONL file: what carries no label is the prompt. */
export function goldenRows(name: string): string {
  const tensors = readTensors(goldenFile(name, 'golden.safetensors'))
  const [ids, mask, labels] = ['input_ids', 'attention_mask', 'labels'].map((key) => tensors.get(key) as I32Tensor)
  const [rows, width] = ids.shape
  return Array.from({ length: rows }, (_, row) => {
    const part = ({ data }: I32Tensor): number[] => [...data.subarray(row * width, (row + 1) * width)]
    const length = part(mask).reduce((a, b) => a + b, 0)
    const prompt = part(labels).findIndex((label) => label !== -100)
    const text = (from: number, to: number): string => goldenText(part(ids).slice(from, to))
    return `${JSON.stringify({ prompt: text(0, prompt), completion: text(prompt, length) })}\n`
  }).join('')
}

/** Every logit of such a model is 0, so that each token has the probability 1/96. */
async function zeroWeights(file: string): Promise<void> {
  const bytes = await readFile(file)
  bytes.fill(0, 8 + Number(bytes.readBigUInt64LE(0)))
  await writeFile(file, bytes)
}

async function editJson(file: string, edit: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  edit(json)
  await writeFile(file, JSON.stringify(json))
}
