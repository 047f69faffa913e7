/**
 * @file Decides where a model's weights are: in the store's prepared files, in the model itself, or in a file written for it.
 */
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { graphWeights, type Graph } from '../../graph/data.js'
import type { WeightStore } from '../weights.js'
import type { WeightContent } from './model.js'

/** A protobuf message ends at 2 GiB, and the runtime copies what is inside one; above this, weights of a store in memory go to a file. */
const INLINE_LIMIT_BYTES = 2 ** 29

export interface PlacedWeights {
  /** Where external data lies; null if there is none. */
  readonly folder: string | null
  readonly content: ReadonlyMap<string, WeightContent>
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
  const content = new Map<string, WeightContent>()
  if (store.folder !== null && names.every((name) => store.locate(name) !== null)) {
    for (const name of names) content.set(name, store.locate(name)!)
    return { folder: store.folder, content, dispose: async () => {} }
  }
  const weights = new Map<string, Uint8Array>()
  for (const name of names) {
    const { buffer, byteOffset, byteLength } = await store.read(name)
    weights.set(name, new Uint8Array(buffer, byteOffset, byteLength))
  }
  const totalBytes = [...weights.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
  if (totalBytes <= inlineLimitBytes) {
    for (const [name, raw] of weights) content.set(name, { raw })
    return { folder: null, content, dispose: async () => {} }
  }
  const folder = await mkdtemp(join(temporaryFolder, 'cutlayer-weights-'))
  await writeWeights(join(folder, FILE), weights, content)
  return { folder, content, dispose: () => rm(folder, { recursive: true, force: true }) }
}

const FILE = 'weights.bin'

async function writeWeights(path: string, weights: ReadonlyMap<string, Uint8Array>, content: Map<string, WeightContent>): Promise<void> {
  const file = await open(path, 'wx')
  try {
    let offset = 0
    for (const [name, raw] of weights) {
      await file.writeFile(raw)
      content.set(name, { file: FILE, offset, bytes: raw.byteLength })
      offset += raw.byteLength
    }
  } finally {
    await file.close()
  }
}
