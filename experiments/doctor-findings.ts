/**
 * @file What `doctor` finds by trying: engines run a small program, the cache folder takes a file, the shipped model opens.
 */
import { constants, type Dirent } from 'node:fs'
import { access, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { openBackend } from '../shared/backend/open.node.js'
import { tensorsOf, type EngineName } from '../shared/backend/backend.js'
import { findTfjs, tfjsVersions, type FoundTfjs } from '../shared/backend/tfjs/kinds.node.js'
import type { TfjsKind } from '../shared/backend/tfjs/worker-setup.js'
import { memoryWeights } from '../shared/backend/weights.js'
import { byteSize } from '../shared/command-line/index.node.js'
import { UserError } from '../shared/errors.js'
import { newGraph } from '../shared/graph/ops/index.js'
import { temporaryPath } from '../shared/model/atomic-file.node.js'
import { cacheFolder } from '../shared/model/cache.node.js'
import { hubEnvironment } from '../shared/model/hub/environment.node.js'
import { openModel } from '../shared/model/model.node.js'
import { f32 } from '../shared/tensor.js'

export interface Finding {
  /** What was looked at, as `engine onnx`. */
  readonly what: string
  /** `missing`: it is needed; `absent`: cutlayer does without. */
  readonly status: 'ok' | 'missing' | 'absent'
  /** For people. */
  readonly details: string
  /** For scripts. */
  readonly facts: Readonly<Record<string, unknown>>
  /** How to get it; null where nothing is to be done. */
  readonly fix: string | null
}

/** Runs a small program on each engine. */
export async function engineFindings(): Promise<Finding[]> {
  const version = await onnxRuntimeVersion()
  return [
    await engineFinding('onnx', version === null ? 'onnxruntime-node' : `onnxruntime-node ${version}`, { version }),
    await tfjsFinding(),
    await engineFinding('reference', 'built in, exact and slow', {}),
  ]
}

/** Which TensorFlow.js computes, and how to get the next better one. */
async function tfjsFinding(): Promise<Finding> {
  let found: FoundTfjs
  try {
    found = findTfjs(process.env)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { what: 'engine tfjs', status: 'absent', details: error.why, facts: {}, fix: error.fix }
  }
  const versions = tfjsVersions(found)
  const [[name, version]] = Object.entries(versions) as [[string, string]]
  const finding = await engineFinding('tfjs', `${found.kind}: ${name} ${version}`, { kind: found.kind, versions })
  // cutlayer does without it, as its default engine is another.
  const status = finding.status === 'ok' ? 'ok' : 'absent'
  return { ...finding, status, fix: finding.fix ?? BETTER[found.kind] }
}

const BETTER: Readonly<Record<TfjsKind, string | null>> = {
  native: null,
  wasm: 'faster with its native part: run `cutlayer engine install tfjs` (Linux on x64)',
  cpu: 'faster with WASM: leave CUTLAYER_TFJS unset, and run `npm ci` again if that changes nothing',
}

async function engineFinding(name: EngineName, details: string, facts: Finding['facts']): Promise<Finding> {
  const what = `engine ${name}`
  try {
    const milliseconds = await runSmallProgram(name)
    const took = { ...facts, first_run_ms: Math.round(milliseconds) }
    return {
      what,
      status: 'ok',
      details: `${details}; a small program ran, ${took.first_run_ms} ms with its start`,
      facts: took,
      fix: null,
    }
  } catch (error) {
    const isKnown = error instanceof UserError
    return {
      what,
      status: 'missing',
      details: isKnown ? error.why : String(error),
      facts,
      fix: isKnown ? error.fix : 'install again with npm ci; onnxruntime-node runs on Linux with glibc, macOS on arm64 and Windows',
    }
  }
}

/** [1, 2] [[3], [4]] = [11]. @returns how long it took with all that was loaded for it. */
async function runSmallProgram(engine: string): Promise<number> {
  const start = performance.now()
  const backend = openBackend(engine, { threads: 1, lanes: 1 })
  try {
    const builder = newGraph()
    builder.output('y', builder.input('x', 'f32', ['rows', 2]).gemm(builder.input('w', 'f32', [2, 1])))
    const program = await backend.compile(builder.finish(), memoryWeights(new Map(), 'doctor'), { name: 'doctor' })
    const results = await program.run({ x: f32([1, 2], [1, 2]), w: f32([2, 1], [3, 4]) })
    const [y] = tensorsOf(results, ['y'])
    if (y!.data[0] !== 11) throw new Error(`it says that 1 * 3 + 2 * 4 is ${y!.data[0]}`)
    return performance.now() - start
  } finally {
    await backend.dispose()
  }
}

async function onnxRuntimeVersion(): Promise<string | null> {
  try {
    const file = createRequire(import.meta.url).resolve('onnxruntime-node/package.json')
    return z.object({ version: z.string() }).parse(JSON.parse(await readFile(file, 'utf8'))).version
  } catch {
    return null
  }
}

/** Where prepared weights go, whether a file can be written there, and how much there is. */
export async function cacheFinding(environment: NodeJS.ProcessEnv = process.env): Promise<Finding> {
  const what = 'cache'
  const fix = 'make it writable, or set CUTLAYER_CACHE to a folder with room for the model in float32'
  let folder: string
  try {
    folder = cacheFolder(environment)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { what, status: 'missing', details: error.why, facts: { folder: null, writable: false }, fix: error.fix }
  }
  const problem = await writingProblem(folder)
  const exists = (await stat(folder).catch(() => null)) !== null
  const bytes = await folderBytes(folder)
  const facts = { folder, exists, writable: problem === null, bytes }
  if (problem !== null) return { what, status: 'missing', details: `${folder}: ${problem}`, facts, fix }
  return { what, status: 'ok', details: `${folder}, ${exists ? byteSize(bytes) : 'made when it is needed'}`, facts, fix: null }
}

/** Where models by hub id go and come from. A token is told of, and never shown. */
export async function hubFinding(environment: NodeJS.ProcessEnv = process.env): Promise<Finding> {
  const what = 'hub'
  const fix = 'make it writable, or set HF_HUB_CACHE to another folder; models in folders work without it'
  try {
    const { cache, endpoint, isOffline, token } = hubEnvironment(environment)
    const [problem, hasToken] = [await writingProblem(cache), (await token()) !== null]
    const exists = (await stat(cache).catch(() => null)) !== null
    const facts = { folder: cache, exists, writable: problem === null, endpoint, offline: isOffline, token: hasToken }
    const state = isOffline ? 'no host is asked (HF_HUB_OFFLINE)' : `${endpoint}, ${hasToken ? 'with a token' : 'without a token'}`
    if (problem !== null) return { what, status: 'absent', details: `${cache}: ${problem}; ${state}`, facts, fix }
    return { what, status: 'ok', details: `${cache}${exists ? '' : ', made when it is needed'}; ${state}`, facts, fix: null }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { what, status: 'absent', details: error.message, facts: {}, fix: error.fix }
  }
}

/** Writes a file and removes it; where there is no folder yet, asks about the nearest one above. Null: it can be written. */
async function writingProblem(folder: string): Promise<string | null> {
  const stats = await stat(folder).catch((error: NodeJS.ErrnoException) => error)
  try {
    if (!(stats instanceof Error)) {
      if (!stats.isDirectory()) return 'a file is in its place'
      const probe = temporaryPath(join(folder, 'doctor'))
      await writeFile(probe, 'x').finally(() => rm(probe, { force: true }))
      return null
    }
    if (stats.code !== 'ENOENT') return stats.message
    let above = dirname(folder)
    while ((await stat(above).catch(() => null)) === null && dirname(above) !== above) above = dirname(above)
    await access(above, constants.W_OK)
    return (await stat(above)).isDirectory() ? null : `${above} is a file`
  } catch (error) {
    return (error as Error).message
  }
}

/** Of all files in it, links not followed; what cannot be read counts nothing. */
async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((): Dirent[] => [])
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(file.parentPath, file.name)).catch(() => null))?.size ?? 0))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Opens the model that is shipped with cutlayer, with its tokenizer. */
export async function shippedModelFinding(): Promise<Finding> {
  const what = 'shipped model'
  try {
    const { name, digest, parameters, architecture, tokenizer } = await openModel(null)
    await tokenizer()
    return {
      what,
      status: 'ok',
      details: `${name}, ${architecture.layers} layers, ${(parameters / 1e6).toFixed(1)} million parameters, digest ${digest.model.slice(0, 12)}`,
      facts: { name, digest: digest.model, layers: architecture.layers, parameters },
      fix: null,
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return {
      what,
      status: 'missing',
      details: error.message,
      facts: {},
      fix: 'install cutlayer again, or give model.model_name_or_path in every config',
    }
  }
}
