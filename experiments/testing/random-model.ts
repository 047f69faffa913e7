/**
 * @file A GPT-2 of random weights as a folder, of a size that takes a while on the wire.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { familyOf } from '../../shared/model/families/index.js'
import { serializeSafetensors, type TensorToWrite } from '../../shared/model/safetensors.js'
import { derive } from '../../shared/random.js'
import { writeGoldenModel } from './golden-model.js'

/** 2 blocks of 3.2 MB in float32, with the golden model's vocabulary, positions and tokenizer. */
export async function writeRandomModel(folder: string): Promise<void> {
  await writeGoldenModel(folder, 'gpt2', { eos: true })
  const path = join(folder, 'config.json')
  const config = { ...(JSON.parse(await readFile(path, 'utf8')) as object), n_embd: 256, n_head: 4, n_layer: 2 }
  await writeFile(path, JSON.stringify(config))
  const family = familyOf(config)
  const tensors = [...family.tensors(family.parse(config))].map(([name, shape]): [string, TensorToWrite] => {
    const random = derive(0, 'weight', name)
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (random.below(2001) - 1000) / 20_000)
    return [name, { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) }]
  })
  await writeFile(join(folder, 'model.safetensors'), serializeSafetensors(new Map(tensors), { format: 'pt' }))
}
