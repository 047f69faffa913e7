/**
 * @file Opens a backend by the name that configs and flags give it, and makes sure that it has come to rest before the process exits.
 */
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { UserError } from '../errors.js'
import { beforeExit } from '../exit.node.js'
import { ENGINE_NAMES, type Backend, type EngineName } from './backend.js'
import { onnxBackend, type OnnxOptions } from './onnx/onnx.node.js'
import { referenceBackend } from './reference.js'
import { findTfjs, tfjsVersions } from './tfjs/kinds.node.js'
import { tfjsBackend } from './tfjs/tfjs.node.js'

/** Each under the name that `model.engine` and `--engine` give it. */
const ENGINES: Readonly<Record<EngineName, (options: EngineOptions) => Backend>> = {
  onnx: onnxBackend,
  tfjs: tfjsBackend,
  // Computes in the caller's thread, whatever the options.
  reference: referenceBackend,
}

export type EngineOptions = Pick<OnnxOptions, 'threads' | 'lanes' | 'spinning' | 'trace'>

/**
 * Opens an engine. Nothing is loaded before its first `compile`, which throws ENGINE_UNAVAILABLE if it cannot be.
 *
 * Its `dispose` may be called more than once. An engine that nobody disposed is disposed before the process exits: an exit in the middle of
 * native code would abort the process.
 *
 * @throws UserError BAD_ARGUMENT for a name that no engine has, and as `findTfjs` does.
 */
export function openBackend(engine: string, options: EngineOptions): Backend {
  const name = ENGINE_NAMES.find((known) => known === engine)
  if (name === undefined) throw unknownEngine(engine)
  const backend = ENGINES[name](options)
  let disposal: Promise<void> | null = null
  const dispose = (): Promise<void> => (disposal ??= backend.dispose().finally(takeBack))
  const takeBack = beforeExit(dispose)
  return { ...backend, dispose }
}

/** Versions of the libraries that an engine computes with, by package; none for one that needs none. */
export function engineVersions(engine: string): Readonly<Record<string, string>> {
  if (engine === 'tfjs') return tfjsVersions(findTfjs(process.env))
  if (engine !== 'onnx') return {}
  const name = 'onnxruntime-node'
  // Not from the library itself: only the engine's workers load it.
  const { version } = z.object({ version: z.string() }).parse(createRequire(import.meta.url)(`${name}/package.json`))
  return { [name]: version }
}

/** Threads for one of several processes that compute on this machine at the same time: its share of the cores, at least 1. */
export function threadsPerProcess(processes: number): number {
  return Math.max(1, Math.floor(availableParallelism() / processes))
}

function unknownEngine(engine: string): UserError {
  const known = `${ENGINE_NAMES.slice(0, -1).join(', ')} or ${ENGINE_NAMES.at(-1)}`
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `there is no engine called ${engine}`,
    why: `the engines are ${known}`,
    fix: `use ${known}`,
  })
}
