/**
 * @file A whole model of random weights, as a folder in Hugging Face form: what a run can be started on without a download.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { familyOf } from '../../shared/model/families/index.js'
import { writeSafetensorsFile, type TensorToStream } from '../../shared/model/safetensors-file.node.js'
import { elements } from '../../shared/tensor.js'
import { packageRoot } from '../../shared/version.node.js'
import { randomNumbers } from './random-weights.js'

/**
 * Writes config.json, model.safetensors in F32 (norms 1, other vectors 0, matrices normal with deviation 0.02), and the tokenizer of the
 * shipped model, whose ids are all below 4,096.
 * @param config as config.json has it; its vocabulary has at least those ids.
 */
export async function writeRandomModel(folder: string, config: Readonly<Record<string, unknown>>): Promise<void> {
  const family = familyOf(config)
  const source = randomNumbers({ family, config: family.parse(config) })
  const tensors = [...source.shapes].map(([name, shape]): TensorToStream => ({
    name,
    dtype: 'F32',
    shape,
    bytes: 4 * elements(shape),
    async *pieces() {
      for await (const { buffer, byteOffset, byteLength } of source.pieces(name)) yield new Uint8Array(buffer, byteOffset, byteLength)
    },
  }))
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  await writeSafetensorsFile(join(folder, 'model.safetensors'), tensors)
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(packageRoot(), 'datasets', 'model', file), join(folder, file))
}
