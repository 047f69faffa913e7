/**
 * @file Part of a model on the hub whose weights are one large file: only the needed tensors are fetched, by range.
 *
 * They are kept in cutlayer's own cache and not in Hugging Face's, where other programs expect whole files. `<cache>/parts/<model>/<commit>/` is
 * a model folder like any other, with one small safetensors file for each group of tensors (embedding, block, head) and an index that names all of
 * them, there or not.
 */
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryPath, writeAtomically } from '../atomic-file.node.js'
import { asCacheError, cacheFolder } from '../cache.node.js'
import { INDEX, MAX_INDEX_BYTES, WEIGHTS } from '../weight-files.node.js'
import { optionalJson } from '../json-file.node.js'
import { PREFIX_BYTES, formatHeader, parseHeader, parseHeaderLength, type TensorEntry } from '../safetensors.js'
import { whileLocked } from './lock.node.js'
import type { HubFile } from './repository.node.js'
import type { HubAccess, HubSnapshot } from './snapshot.node.js'
import type { Segment } from './transfer.node.js'

/** Above this share of the file it is fetched whole, where other programs find it too. */
const MOST_OF_IT = 0.7

/** The group of a tensor by its name in the file, such as `block-0`; null for what is not wanted. */
export type GroupOf = (name: string) => string | null

/**
 * Fetches the tensors of the wanted groups, if they are the smaller part of the file.
 *
 * @param groupOf the group of every tensor; null for what belongs to no model's graph
 * @param isWanted whether a group is needed here
 * @param folder holds the model's config.json
 * @returns the folder to open; null if the whole file is to be fetched instead
 * @throws UserError as HubSnapshot.find; MODEL_CORRUPT if the file is no safetensors file; CACHE_UNWRITABLE
 */
export async function fetchPart(
  snapshot: HubSnapshot,
  {
    groupOf,
    isWanted,
    signal,
  }: { readonly groupOf: GroupOf; readonly isWanted: (group: string) => boolean; readonly signal?: HubAccess['signal'] },
): Promise<string | null> {
  const folder = join(cacheFolder(), 'parts', snapshot.id.replaceAll('/', '--'), snapshot.commit)
  try {
    const known = await knownGroups(folder)
    if (known !== null && (await areThere(folder, known, isWanted))) return folder
    const file = (await snapshot.list()).get(WEIGHTS)
    if (!file) return null
    await mkdir(folder, { recursive: true })
    const groups = groupsOf(await readHeader(snapshot, file, folder), groupOf)
    const wanted = [...groups].filter(([group]) => isWanted(group))
    const bytes = wanted.flatMap(([, tensors]) => tensors).reduce((sum, tensor) => sum + tensor.bytes, 0)
    if (bytes > MOST_OF_IT * file.bytes) return null
    for (const name of ['config.json', 'generation_config.json']) {
      const path = await snapshot.find(name)
      if (path !== null) await copyWhole(path, join(folder, name))
    }
    for (const [group, tensors] of wanted) await fetchGroup(snapshot, file, folder, group, tensors, signal)
    const weightMap = [...groups].flatMap(([group, tensors]) => tensors.map(({ name }) => [name, fileOfGroup(group)]))
    // Last: whoever finds the index finds a folder that can be opened.
    await writeAtomically(join(folder, INDEX), (handle) => handle.writeFile(JSON.stringify({ weight_map: Object.fromEntries(weightMap) })))
    return folder
  } catch (error) {
    throw asCacheError(folder, error)
  }
}

async function copyWhole(from: string, to: string): Promise<void> {
  const bytes = await readFile(from)
  await writeAtomically(to, (handle) => handle.writeFile(bytes))
}

function fileOfGroup(group: string): string {
  return `${group}.safetensors`
}

/** Groups of a part that was fetched before; null if there is none. */
async function knownGroups(folder: string): Promise<Set<string> | null> {
  const index = await optionalJson(join(folder, INDEX), MAX_INDEX_BYTES, 'MODEL_CORRUPT').catch(() => null)
  if (index === null) return null
  return new Set(Object.values(index.weight_map ?? {}).map((file) => String(file).replace(/\.safetensors$/, '')))
}

async function areThere(folder: string, groups: ReadonlySet<string>, isWanted: (group: string) => boolean): Promise<boolean> {
  const files = await Promise.all(
    [...groups].filter(isWanted).map((group) =>
      stat(join(folder, fileOfGroup(group))).then(
        (stats) => stats.isFile(),
        () => false,
      ),
    ),
  )
  return files.every(Boolean)
}

/** The file's header, checked against the file's size. */
async function readHeader(snapshot: HubSnapshot, file: HubFile, folder: string): Promise<ReadonlyMap<string, TensorEntry>> {
  const source = { name: `${file.name} of ${snapshot.id}`, code: 'MODEL_CORRUPT' } as const
  const path = temporaryPath(join(folder, 'header'))
  const get = async (bytes: number): Promise<Buffer> => {
    await snapshot.fetchParts(file, path, { prefix: new Uint8Array(0), segments: [{ from: 0, bytes }] }, null)
    return readFile(path)
  }
  try {
    const headerBytes = parseHeaderLength(await get(Math.min(PREFIX_BYTES, file.bytes)), file.bytes, source)
    const beginning = await get(PREFIX_BYTES + headerBytes)
    return parseHeader(beginning.subarray(PREFIX_BYTES), file.bytes, source).tensors
  } finally {
    await rm(path, { force: true })
  }
}

/** Tensors by group, each group in the file's order. What has no group is left out. */
function groupsOf(tensors: ReadonlyMap<string, TensorEntry>, groupOf: GroupOf): Map<string, TensorEntry[]> {
  const groups = new Map<string, TensorEntry[]>()
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset)) {
    const group = groupOf(tensor.name)
    if (group === null) continue
    const members = groups.get(group)
    if (members) members.push(tensor)
    else groups.set(group, [tensor])
  }
  return groups
}

async function fetchGroup(
  snapshot: HubSnapshot,
  file: HubFile,
  folder: string,
  group: string,
  tensors: readonly TensorEntry[],
  signal: HubAccess['signal'],
): Promise<void> {
  const path = join(folder, fileOfGroup(group))
  const isThere = (): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    )
  if (await isThere()) return
  await whileLocked(`${path}.lock`, { signal }, async () => {
    if (await isThere()) return
    const incomplete = `${path}.incomplete`
    await snapshot.fetchParts(file, incomplete, { prefix: formatHeader(tensors), segments: joined(tensors) }, `${file.name} (${group})`)
    await rename(incomplete, path)
  })
}

/** Tensors that lie side by side are fetched with one request. */
function joined(tensors: readonly TensorEntry[]): Segment[] {
  const segments: Segment[] = []
  for (const { offset, bytes } of tensors) {
    const last = segments.at(-1)
    if (last && last.from + last.bytes === offset) segments[segments.length - 1] = { from: last.from, bytes: last.bytes + bytes }
    else if (bytes > 0) segments.push({ from: offset, bytes })
  }
  return segments
}
