/**
 * @file Keeps a client's optimizer state between rounds and processes (`optimizer_state: keep`): one file for each round that may still be asked for.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { UserError } from '../shared/errors.js'
import { writeAtomically } from '../shared/model/atomic-file.node.js'
import { fromFloat32, toFloat32 } from '../shared/model/dtype.js'
import { parseSafetensors, serializeSafetensors, type TensorToWrite } from '../shared/model/safetensors.js'
import { f32, type F32Tensor } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import type { MomentsStore } from './round.js'

const FILE = /^round-(\d+)\.safetensors$/
/** Two moments of an adapter; the largest adapter that is read has half of it. */
const MAX_FILE_BYTES = 2 ** 31

/**
 * The state folder: CUTLAYER_STATE, else $XDG_STATE_HOME/cutlayer, else ~/.local/state/cutlayer. It need not exist.
 * Source: XDG Base Directory Specification 0.8, which has relative paths ignored.
 */
export function stateFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { CUTLAYER_STATE: own, XDG_STATE_HOME: shared } = environment
  if (own) return resolve(own)
  if (shared && isAbsolute(shared)) return join(shared, 'cutlayer')
  return join(homedir(), '.local', 'state', 'cutlayer')
}

/**
 * The moments of one client in one run, as `<state>/<run>/<client>/round-<n>.safetensors`, written atomically.
 *
 * @param run as the server calls it, so it may be anything: a name that is no plain file name is replaced by its hash.
 * @returns a store whose calls throw UserError CLIENT_FAILED where the folder cannot be written or a file in it cannot be read.
 */
export function storedMoments(run: string, client: string, state: string = stateFolder()): MomentsStore {
  const folder = join(state, fileName(run), client)
  const path = (round: number): string => join(folder, `round-${round}.safetensors`)
  return {
    async save(round, moments, since) {
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        await writeAtomically(path(round), (handle) => handle.writeFile(toFile(moments)))
        for (const old of await roundsIn(folder)) if (old < since) await rm(path(old), { force: true })
      } catch (error) {
        throw stateError(`the optimizer state of round ${round} cannot be kept in ${folder}`, error)
      }
    },
    async load(round) {
      const file = path(round)
      const stats = await stat(file).catch(() => null)
      if (!stats) return null
      try {
        if (stats.size > MAX_FILE_BYTES) throw new Error(`it has ${stats.size} bytes`)
        return fromFile(await readFile(file), file)
      } catch (error) {
        throw stateError(`the optimizer state in ${file} cannot be read`, error)
      }
    },
    rounds: () => roundsIn(folder),
    async clear() {
      try {
        await rm(folder, { recursive: true, force: true })
        // The run's own folder goes with the last of its clients.
        await rmdir(dirname(folder))
      } catch {
        // Another client of the run keeps its state there, or it cannot be removed: nobody needs it, and nobody is harmed.
      }
    },
  }
}

async function roundsIn(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => [])
  const rounds = names.map((name) => FILE.exec(name)?.[1]).filter((round) => round !== undefined)
  return rounds.map(Number).sort((a, b) => a - b)
}

function toFile({ updates, mean, square }: OptimizerState): Uint8Array {
  const tensors = new Map<string, TensorToWrite>()
  for (const [kind, moments] of Object.entries({ mean, square }))
    for (const [name, { shape, data }] of moments) tensors.set(`${kind}.${name}`, { dtype: 'F32', shape, bytes: fromFloat32(data, 'F32') })
  return serializeSafetensors(tensors, { updates: String(updates) })
}

function fromFile(bytes: Uint8Array, file: string): OptimizerState {
  const source = { name: file, code: 'ADAPTER_CORRUPT' as const }
  const { tensors, metadata } = parseSafetensors(bytes, source)
  const updates = Number(metadata?.updates)
  if (!Number.isSafeInteger(updates) || updates < 0) throw new Error('it does not say how many updates were made')
  const part = (prefix: string): Map<string, F32Tensor> =>
    new Map(
      [...tensors.values()]
        .filter(({ name }) => name.startsWith(prefix))
        .map((tensor) => [tensor.name.slice(prefix.length), f32(tensor.shape, toFloat32(tensor, source))]),
    )
  const [mean, square] = [part('mean.'), part('square.')]
  if (mean.size + square.size !== tensors.size || [...mean.keys()].some((name) => !square.has(name)))
    throw new Error('it does not hold both moments of every tensor')
  return { updates, mean, square }
}

function fileName(run: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(run) ? run : `run-${createHash('sha256').update(run).digest('hex').slice(0, 16)}`
}

function stateError(what: string, error: unknown): UserError {
  return new UserError(
    {
      code: 'CLIENT_FAILED',
      what,
      why: error instanceof Error ? error.message : String(error),
      fix: 'make room there and make it writable, name another folder in CUTLAYER_STATE, or set federation.optimizer_state to average',
    },
    { cause: error },
  )
}
