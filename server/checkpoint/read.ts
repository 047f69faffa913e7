/**
 * @file Reads checkpoints back: the newest that is whole. Files are untrusted; what is not what `checkpoint.json` says is torn.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../shared/errors.js'
import type { F32Tensor } from '../../shared/tensor.js'
import { unpacked, type CheckpointContents } from './contents.js'
import { CHECKPOINT_VERSION, CheckpointFacts, digested, FACTS_FILE, MOST_FACTS_BYTES, type TensorFile } from './facts.js'
import { readTensorFile } from './tensor-file.js'
import { Torn } from './torn.js'
import { checkpointFolder, checkpointRounds } from './write.js'

/** A checkpoint that is not whole. */
export interface TornCheckpoint {
  readonly round: number
  readonly why: string
}

export interface FoundCheckpoint {
  readonly contents: CheckpointContents
  /** Newer ones. */
  readonly torn: readonly TornCheckpoint[]
}

/**
 * The newest whole checkpoint.
 * @returns null if there is none at all.
 * @throws UserError CHECKPOINT_CORRUPT if all are torn, CHECKPOINT_TOO_NEW for one of a later program.
 */
export async function newestCheckpoint(root: string): Promise<FoundCheckpoint | null> {
  const torn: TornCheckpoint[] = []
  for (const round of (await checkpointRounds(root)).reverse()) {
    try {
      return { contents: await readCheckpoint(root, round), torn }
    } catch (error) {
      if (!(error instanceof Torn)) throw error
      torn.push({ round, why: error.message })
    }
  }
  if (torn.length === 0) return null
  throw new UserError({
    code: 'CHECKPOINT_CORRUPT',
    what: `no checkpoint in ${root} is whole`,
    why: torn.map(({ round, why }) => `round-${round}: ${why}`).join('; '),
    fix: 'bring back a copy of one of these folders, or remove them all, and the run starts at its beginning',
  })
}

/** @throws Torn, UserError CHECKPOINT_TOO_NEW */
export async function readCheckpoint(root: string, round: number): Promise<CheckpointContents> {
  const folder = checkpointFolder(root, round)
  const facts = await readFacts(folder, round)
  const files = new Map<TensorFile, Map<string, F32Tensor>>()
  for (const { name, bytes, sha256 } of facts.files) {
    const file = `${name}.safetensors`
    files.set(name, await readTensorFile(join(folder, file), file, { bytes, sha256 }))
  }
  return unpacked(facts, files)
}

/** What a checkpoint says beside its tensors, which are not looked at. @throws as readCheckpoint */
export async function readFacts(folder: string, round: number): Promise<CheckpointFacts> {
  const path = join(folder, FACTS_FILE)
  const value = digested(await readText(path))
  if (typeof value.version === 'number' && value.version > CHECKPOINT_VERSION) throw tooNew(path, value.version, value)
  const facts = CheckpointFacts.safeParse(value)
  if (!facts.success) {
    const [issue] = facts.error.issues
    throw new Torn(`${FACTS_FILE} is not one: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`)
  }
  if (facts.data.round !== round) throw new Torn(`${FACTS_FILE} is of round ${facts.data.round}`)
  return facts.data
}

async function readText(path: string): Promise<string> {
  const unreadable = (error: NodeJS.ErrnoException): never => {
    throw new Torn(error.code === 'ENOENT' ? `${FACTS_FILE} is missing` : `${FACTS_FILE} cannot be read: ${error.message}`)
  }
  const { size } = await stat(path).catch(unreadable)
  if (size > MOST_FACTS_BYTES) throw new Torn(`${FACTS_FILE} has ${size} bytes, and at most ${MOST_FACTS_BYTES} are read`)
  return readFile(path, 'utf8').catch(unreadable)
}

function tooNew(path: string, version: number, facts: Readonly<Record<string, unknown>>): UserError {
  const writer = typeof facts.cutlayer === 'string' ? facts.cutlayer : 'of an unknown version'
  return new UserError({
    code: 'CHECKPOINT_TOO_NEW',
    what: 'the run cannot be gone on with',
    why: `${path} has version ${version}, written by cutlayer ${writer}, and this cutlayer reads versions up to ${CHECKPOINT_VERSION}`,
    fix: 'go on with it with the cutlayer that wrote it, or a newer one',
  })
}
