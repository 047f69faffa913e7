/**
 * @file Writes a checkpoint's folder, whole or not at all, and removes those that are too many.
 */
import { renameSync } from 'node:fs'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  makeTemporaryFolder,
  removeAtExit,
  removeStaleTemporaries,
  syncFolder,
  temporaryPath,
} from '../../shared/model/atomic-file.node.js'
import { packed, type CheckpointContents } from './contents.js'
import { FACTS_FILE, TENSOR_FILES, withDigest, type CheckpointFacts } from './facts.js'
import { writeTensorFile } from './tensor-file.js'

const FOLDER = /^round-([1-9]\d{0,9})$/

/** Rounds of which there are checkpoints, torn ones among them; the first is the oldest. */
export async function checkpointRounds(root: string): Promise<number[]> {
  const names = await readdir(root).catch(() => [])
  const rounds = names.map((name) => FOLDER.exec(name)?.[1]).filter((round) => round !== undefined)
  return rounds.map(Number).sort((a, b) => a - b)
}

export function checkpointFolder(root: string, round: number): string {
  return join(root, `round-${round}`)
}

/**
 * Writes `<root>/round-<n>`. Its files are on the disk before it has that name, and its name before this resolves: whatever happens meanwhile, to the
 * program or to the machine, there is a whole checkpoint or none.
 * @throws Error of the system's; nothing is left then, and older checkpoints are untouched.
 */
export async function writeCheckpoint(root: string, contents: CheckpointContents): Promise<void> {
  const folder = checkpointFolder(root, contents.state.round)
  const temporary = temporaryPath(folder)
  const release = removeAtExit(temporary)
  try {
    await makeTemporaryFolder(temporary)
    const { facts, files } = packed(contents)
    const written: CheckpointFacts['files'] = []
    for (const name of TENSOR_FILES) {
      const tensors = files.get(name)
      if (tensors) written.push({ name, ...(await writeTensorFile(join(temporary, `${name}.safetensors`), tensors)) })
    }
    await writeText(join(temporary, FACTS_FILE), withDigest({ ...facts, files: written }))
    await syncFolder(temporary)
    // One of a round that is made again is in the way, and was found torn.
    await rm(folder, { recursive: true, force: true })
    renameSync(temporary, folder)
    await syncFolder(root)
  } finally {
    await rm(temporary, { recursive: true, force: true })
    release()
  }
}

/** Removes the oldest ones above the limit, and what processes that died have begun to write. */
export async function removeOldCheckpoints(root: string, limit: number): Promise<void> {
  const rounds = await checkpointRounds(root)
  for (const round of rounds.slice(0, Math.max(0, rounds.length - limit)))
    await rm(checkpointFolder(root, round), { recursive: true, force: true })
  await removeStaleTemporaries(root)
}

async function writeText(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
