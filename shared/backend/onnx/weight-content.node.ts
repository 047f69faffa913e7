/**
 * @file Decides where a model's weights are: in the store's prepared files, in the model itself, or in a file written for it.
 */
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { graphWeights, type Graph } from '../../graph/data.js'
import { mapMatrix } from '../blocks.js'
import type { WeightContent, WeightStore } from '../weights.js'
import type { PlacedWeight } from './model.js'

/** A protobuf message ends at 2 GiB, and the runtime copies what is inside one; above this, weights of a store in memory go to a file. */
const INLINE_LIMIT_BYTES = 2 ** 29

export interface PlacedWeights {
  /** Where external data lies; null if there is none. */
  readonly folder: string | null
  readonly content: ReadonlyMap<string, PlacedWeight>
  /** Removes what was written for this model only. */
  dispose(): Promise<void>
}

/**
 * Places every weight of a graph. Prepared files are used where they are, and mapped, so that programs and processes share them.
 * @param temporaryFolder where a folder for weights too large to inline is made.
 */
export async function placeWeights(
  graph: Graph,
  store: WeightStore,
  { inlineLimitBytes = INLINE_LIMIT_BYTES, temporaryFolder = tmpdir() } = {},
): Promise<PlacedWeights> {
  const names = [...graphWeights(graph).keys()]
  const located = (name: string): PlacedWeight | null => {
    const [blocks, plain] = [store.quantized(name), store.locate(name)]
    return blocks ? { blocks } : plain && { plain }
  }
  if (store.folder !== null && names.every((name) => located(name) !== null)) {
    const content = new Map(names.map((name) => [name, located(name)!]))
    return { folder: store.folder, content, dispose: async () => {} }
  }
  const content = new Map<string, PlacedWeight>()
  for (const name of names) content.set(name, located(name) ?? { plain: { raw: bytesOf(await store.read(name)) } })
  const totalBytes = [...content.values()].flatMap(partsOf).reduce((sum, part) => sum + ('raw' in part ? part.raw.length : 0), 0)
  if (totalBytes <= inlineLimitBytes) return { folder: null, content, dispose: async () => {} }
  const folder = await mkdtemp(join(temporaryFolder, 'cutlayer-weights-'))
  return { folder, content: await writeWeights(folder, content), dispose: () => rm(folder, { recursive: true, force: true }) }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

function partsOf(weight: PlacedWeight): WeightContent[] {
  if ('plain' in weight) return [weight.plain]
  const { rows, columns } = weight.blocks
  return [rows, columns].flatMap(({ codes, scales }) => [codes, scales])
}

const FILE = 'weights.bin'

async function writeWeights(folder: string, weights: ReadonlyMap<string, PlacedWeight>): Promise<Map<string, PlacedWeight>> {
  const file = await open(join(folder, FILE), 'wx')
  try {
    let offset = 0
    const written = new Map<WeightContent, WeightContent>()
    for (const part of [...weights.values()].flatMap(partsOf)) {
      if (!('raw' in part)) continue
      await file.writeFile(part.raw)
      written.set(part, { file: FILE, offset, bytes: part.raw.length })
      offset += part.raw.length
    }
    const placed = (part: WeightContent): WeightContent => written.get(part) ?? part
    return new Map(
      [...weights].map(([name, weight]) => [
        name,
        'plain' in weight ? { plain: placed(weight.plain) } : { blocks: mapMatrix(weight.blocks, placed) },
      ]),
    )
  } finally {
    await file.close()
  }
}
