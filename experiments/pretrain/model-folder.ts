/**
 * @file Writes a model folder in Hugging Face form, with the weights in float16.
 */
import { copyFile, mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeAtomically } from '../../shared/model/atomic-file.node.js'
import { fromFloat32 } from '../../shared/model/dtype.js'
import { decodeF16, encodeF16 } from '../../shared/model/half.js'
import { serializeSafetensors } from '../../shared/model/safetensors.js'
import { f32, type F32Tensor, type NamedTensors } from '../../shared/tensor.js'
import type { PretrainConfig } from './config.js'

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json']

/** The weights as they are after a write and a read: a copy, rounded to float16. */
export function roundedToHalf(weights: NamedTensors): Map<string, F32Tensor> {
  return new Map([...weights].map(([name, { shape, data }]) => [name, f32(shape, decodeF16(encodeF16(data)))]))
}

/**
 * Writes config.json, generation_config.json, model.safetensors and README.md, each whole or not at all, and puts the tokenizer beside them.
 *
 * @param tokenizerFolder where tokenizer.json and tokenizer_config.json lie; may be `folder` itself.
 * @param card the text of README.md.
 */
export async function writeModelFolder(
  folder: string,
  model: PretrainConfig['model'],
  weights: NamedTensors,
  tokenizerFolder: string,
  card: string,
): Promise<void> {
  await mkdir(folder, { recursive: true })
  if (resolve(folder) !== resolve(tokenizerFolder))
    for (const file of TOKENIZER_FILES) await copyFile(join(tokenizerFolder, file), join(folder, file))
  const { bos_token_id: bos, eos_token_id: eos } = model
  const halves = new Map(
    [...weights].map(([name, { shape, data }]) => [name, { dtype: 'F16' as const, shape, bytes: fromFloat32(data, 'F16') }]),
  )
  const files: [string, Uint8Array | string][] = [
    ['config.json', json(model)],
    ['generation_config.json', json({ bos_token_id: bos, eos_token_id: eos })],
    // transformers refuses a file whose metadata does not name the framework.
    ['model.safetensors', serializeSafetensors(halves, { format: 'pt' })],
    ['README.md', card],
  ]
  for (const [name, content] of files) await writeAtomically(join(folder, name), (handle) => handle.writeFile(content))
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
