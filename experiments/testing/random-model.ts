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
export function writeRandomModel(folder: string): Promise<void> {
  return writeModel(folder, { n_embd: 256, n_head: 4, n_layer: 2 }, (name, count) => {
    const random = derive(0, 'weight', name)
    const values = Float32Array.from({ length: count }, () => (random.below(2001) - 1000) / 20_000)
    return { dtype: 'F32', bytes: new Uint8Array(values.buffer) }
  })
}

/** A single block of 300 MB in float32; the checkpoint has it in half the size. */
export function writeLargeModel(folder: string): Promise<void> {
  return writeModel(folder, { n_embd: 2500, n_head: 4, n_layer: 1 }, (_, count) => {
    // Bit patterns of numbers between 2^-8 and 2^-7 in size; a generator per number would take a minute.
    const bits = new Uint16Array(count)
    let state = 1
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      bits[i] = ((state >>> 16) & 0x8000) | 0x3b80 | ((state >>> 8) & 0x7f)
    }
    return { dtype: 'BF16', bytes: new Uint8Array(bits.buffer) }
  })
}

async function writeModel(
  folder: string,
  sizes: Readonly<Record<'n_embd' | 'n_head' | 'n_layer', number>>,
  make: (name: string, count: number) => Pick<TensorToWrite, 'dtype' | 'bytes'>,
): Promise<void> {
  await writeGoldenModel(folder, 'gpt2', { eos: true })
  const path = join(folder, 'config.json')
  const config = { ...(JSON.parse(await readFile(path, 'utf8')) as object), ...sizes }
  await writeFile(path, JSON.stringify(config))
  const family = familyOf(config)
  const tensors = [...family.tensors(family.parse(config))].map(([name, shape]): [string, TensorToWrite] => {
    return [
      name,
      {
        shape,
        ...make(
          name,
          shape.reduce((a, b) => a * b, 1),
        ),
      },
    ]
  })
  await writeFile(join(folder, 'model.safetensors'), serializeSafetensors(new Map(tensors), { format: 'pt' }))
}
