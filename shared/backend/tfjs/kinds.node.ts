/**
 * @file Which TensorFlow.js this machine has: the native one where its library is, else WASM, else the plain one.
 */
import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../errors.js'
import { cacheFolder } from '../../model/cache.node.js'
import { NATIVE_PACKAGE, TFJS_KINDS, type TfjsKind } from './worker-setup.js'

/** Of the package that `cutlayer engine install tfjs` installs. */
export const NATIVE_VERSION = '4.22.0'

export interface FoundTfjs {
  readonly kind: TfjsKind
  /** The file or folder from which its packages are resolved. */
  readonly from: string
}

/** Where engines that are no dependency are installed: CUTLAYER_ENGINES, else `engines` in the cache. */
export function enginesFolder(environment: NodeJS.ProcessEnv): string {
  return environment['CUTLAYER_ENGINES'] || join(cacheFolder(environment), 'engines')
}

/** Of the native TensorFlow.js in `engines`. */
export function nativeFolder(engines: string): string {
  return join(engines, `tfjs-node-gpu-${NATIVE_VERSION}`)
}

/**
 * The best one that is there; CUTLAYER_TFJS (native, wasm or cpu) asks for one by name.
 * @throws UserError ENGINE_UNAVAILABLE if that one is not there, BAD_ARGUMENT if there is no such one
 */
export function findTfjs(environment: NodeJS.ProcessEnv): FoundTfjs {
  const asked = environment['CUTLAYER_TFJS'] || null
  if (asked !== null && !(TFJS_KINDS as readonly string[]).includes(asked)) throw unknownKind(asked)
  if (asked === null || asked === 'native') {
    const from = findNative(environment)
    if (from !== null) return { kind: 'native', from }
    if (asked === 'native') throw nativeMissing()
  }
  const hasWasm = typeof WebAssembly === 'object' && resolves('@tensorflow/tfjs-backend-wasm', OWN)
  return { kind: asked === 'cpu' || !hasWasm ? 'cpu' : 'wasm', from: OWN }
}

const OWN = import.meta.url

/** The package that computes, and its version. */
export function tfjsVersions({ kind, from }: FoundTfjs): Readonly<Record<string, string>> {
  const name = kind === 'native' ? NATIVE_PACKAGE : `@tensorflow/tfjs-backend-${kind}`
  return { [name]: z.object({ version: z.string() }).parse(createRequire(from)(`${name}/package.json`)).version }
}

/** From where the package resolves whose binding and library are both there; null if there is none. */
export function findNative(environment: NodeJS.ProcessEnv): string | null {
  const installed = join(nativeFolder(enginesFolder(environment)), 'package.json')
  return [OWN, installed].find((from) => resolves(NATIVE_PACKAGE, from) && hasLibrary(packageFolder(from))) ?? null
}

function packageFolder(from: string): string {
  return dirname(createRequire(from).resolve(`${NATIVE_PACKAGE}/package.json`))
}

function hasLibrary(folder: string): boolean {
  const [bindings, libraries] = ['lib', join('deps', 'lib')].map((part) => join(folder, part))
  if (!existsSync(bindings!) || !existsSync(libraries!)) return false
  const isBuilt = readdirSync(bindings!).some((version) => existsSync(join(bindings!, version, 'tfjs_binding.node')))
  return isBuilt && readdirSync(libraries!).some((file) => /^(lib)?tensorflow\b/.test(file))
}

function resolves(name: string, from: string): boolean {
  try {
    createRequire(from).resolve(`${name}/package.json`)
    return true
  } catch {
    return false
  }
}

function unknownKind(asked: string): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `there is no TensorFlow.js called ${asked}`,
    why: `CUTLAYER_TFJS is ${asked}`,
    fix: `set CUTLAYER_TFJS to ${TFJS_KINDS.join(', ')} or nothing`,
  })
}

function nativeMissing(): UserError {
  return new UserError({
    code: 'ENGINE_UNAVAILABLE',
    what: 'the native TensorFlow.js is not there',
    why: `CUTLAYER_TFJS asks for it, and ${NATIVE_PACKAGE} with its library is not installed`,
    fix: 'run `cutlayer engine install tfjs`, or set CUTLAYER_TFJS to wasm',
  })
}
