/**
 * @file A whole model of random weights, as a folder in Hugging Face form: what a run can be started on without a download.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { familyOf } from '../../shared/model/families/index.js'
import { writeSafetensorsFile, type TensorToStream } from '../../shared/model/safetensors-file.node.js'
import { derive } from '../../shared/random.js'
import { elements } from '../../shared/tensor.js'
import { packageRoot } from '../../shared/version.node.js'

/** Tensors repeat this many random numbers: time does not depend on the values. */
const POOL = 2 ** 20

/**
 * Writes config.json, model.safetensors in F32 (norms 1, other vectors 0, matrices normal with deviation 0.02), and the tokenizer of the
 * shipped model, whose ids are all below 4,096.
 * @param config as config.json has it; its vocabulary has at least those ids.
 */
export async function writeRandomModel(folder: string, config: Readonly<Record<string, unknown>>): Promise<void> {
  const family = familyOf(config)
  const pool = new Float32Array(POOL)
  derive(1, 'benchmark weights').fillNormal(pool, 0, 0.02)
  const tensors = [...family.tensors(family.parse(config))].map(([name, shape]): TensorToStream => {
    const count = elements(shape)
    const flat = new Float32Array(Math.min(count, POOL)).fill(name.endsWith('.weight') ? 1 : 0)
    const numbers = shape.length > 1 ? pool : flat
    return {
      name,
      dtype: 'F32',
      shape,
      bytes: 4 * count,
      async *pieces() {
        for (let from = 0; from < count; from += POOL) yield new Uint8Array(numbers.buffer, 0, 4 * Math.min(POOL, count - from))
      },
    }
  })
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  await writeSafetensorsFile(join(folder, 'model.safetensors'), tensors)
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(packageRoot(), 'datasets', 'model', file), join(folder, file))
}
