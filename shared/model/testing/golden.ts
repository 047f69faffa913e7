/**
 * @file Reads the golden cases in `shared/model/golden`: tiny models, and what transformers, PEFT and PyTorch compute on them.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { memoryWeights, type WeightStore } from '../../backend/weights.js'
import { f32, i32, type F32Tensor, type I32Tensor, type Tensor } from '../../tensor.js'
import { packBatch, type Batch } from '../../train/batch.js'
import { familyOf } from '../families/index.js'
import type { ModelDefinition } from '../graphs.js'
import { targetedModules } from '../lora.js'
import { parseSafetensors } from '../safetensors.js'
import type { LoraSetting } from '../stage.js'

/** All cases of models; each test that holds for any model goes through them. */
export const GOLDEN_MODELS = [
  'gpt2',
  'gpt2-all-linear',
  'gpt2-relu-scaled',
  'llama-gqa',
  'llama-rope-linear',
  'llama-rope-yarn',
  'llama-untied',
  'mistral',
  'mistral-window',
  'qwen2',
  'qwen3',
] as const

export function goldenFile(...parts: string[]): string {
  return fileURLToPath(new URL(`../golden/${parts.join('/')}`, import.meta.url).href.replace('/dist/', '/'))
}

export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T
}

/** All tensors of a safetensors file; I64 becomes i32. */
export function readTensors(path: string): Map<string, Tensor> {
  const { tensors } = parseSafetensors(readFileSync(path), { name: path, code: 'MODEL_CORRUPT' })
  return new Map(
    [...tensors].map(([name, { dtype, shape, bytes }]) => {
      const copy = new Uint8Array(bytes) // a Buffer's own slice would share memory
      return [
        name,
        dtype === 'I64'
          ? i32(shape, Int32Array.from(new BigInt64Array(copy.buffer), Number))
          : dtype === 'I32'
            ? i32(shape, new Int32Array(copy.buffer))
            : f32(shape, new Float32Array(copy.buffer)),
      ]
    }),
  )
}

/** An adapter under the product's own keys. */
export function readAdapter(path: string): Map<string, F32Tensor> {
  return new Map([...readTensors(path)].map(([name, tensor]) => [name.replace('base_model.model.', ''), tensor as F32Tensor]))
}

/** The rows of a padded batch (labels shifted inside transformers: labels[t] scores position t - 1), packed. */
export function goldenBatch(tensors: ReadonlyMap<string, Tensor>, prefix = ''): Batch {
  const [ids, mask, labels] = ['input_ids', 'attention_mask', 'labels'].map((name) => tensors.get(prefix + name) as I32Tensor)
  const [rows, width] = ids.shape
  return packBatch(
    Array.from({ length: rows }, (_, row) => {
      const length = mask.data.subarray(row * width, (row + 1) * width).reduce((sum, one) => sum + one, 0)
      const from = row * width
      const scored = Uint8Array.from(labels.data.subarray(from, from + length), (label, t) => (t > 0 && label !== -100 ? 1 : 0))
      return { ids: ids.data.slice(from, from + length), scored, bytes: 0 }
    }),
  )
}

/** The real tokens of a padded array [batch, longest, d], in packed order. */
export function packed(tensor: Tensor, batch: Batch): Float32Array {
  const width = tensor.shape[2]
  const out = new Float32Array(batch.ids.data.length * width)
  // Golden batches are padded to their longest row, so slots are theirs.
  batch.places.data.forEach((slot, token) => out.set((tensor as F32Tensor).data.subarray(slot * width, (slot + 1) * width), token * width))
  return out
}

export interface GoldenCase {
  readonly model: ModelDefinition
  readonly weights: WeightStore
  readonly lora: LoraSetting & { readonly scale: number }
  readonly adapter: Map<string, F32Tensor>
  readonly batch: Batch
  readonly tensors: Map<string, Tensor>
  readonly losses: { loss_base: number; loss_lora: number }
}

export function openGolden(name: string): GoldenCase {
  const json = readJson(goldenFile(name, 'model', 'config.json'))
  const family = familyOf(json)
  const config = family.parse(json)
  const raw = new Map(
    [...readTensors(goldenFile(name, 'model', 'model.safetensors'))].map(([key, value]) => [family.rename(key) ?? key, value as F32Tensor]),
  )
  const peft = readJson<{ target_modules: string[]; r: number; lora_alpha: number }>(goldenFile(name, 'adapter', 'adapter_config.json'))
  const tensors = readTensors(goldenFile(name, 'golden.safetensors'))
  return {
    model: { family, config },
    weights: memoryWeights(raw, name),
    lora: {
      paths: targetedModules(family.linears(config), peft.target_modules).map(({ path }) => path),
      scale: peft.lora_alpha / peft.r,
      dropout: 0,
    },
    adapter: readAdapter(goldenFile(name, 'adapter', 'adapter_model.safetensors')),
    batch: goldenBatch(tensors),
    tensors,
    losses: readJson(goldenFile(name, 'golden.json')),
  }
}

/** Largest difference relative to the largest expected number. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} numbers, ${expected.length} expected`)
  let [difference, size] = [0, 0]
  for (let i = 0; i < actual.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i] - expected[i]))
    size = Math.max(size, Math.abs(expected[i]))
    if (Number.isNaN(actual[i])) return NaN
  }
  return difference / size
}
