/**
 * @file Which kinds of TensorFlow.js tests run on: WASM always, and the native one where it is; else they say why not.
 */
import type { Backend } from '../../backend.js'
import { findTfjs, type FoundTfjs } from '../kinds.node.js'
import { tfjsBackend } from '../tfjs.node.js'

export function foundKinds(): FoundTfjs[] {
  const wasm = findTfjs({ ...process.env, CUTLAYER_TFJS: 'wasm' })
  const best = findTfjs({ ...process.env, CUTLAYER_TFJS: '' })
  if (best.kind === 'native') return [best, wasm]
  console.warn('the native TensorFlow.js is not installed (cutlayer engine install tfjs): its tests are skipped')
  return [wasm]
}

/** Each kind that is there, for tables of engines; each of their calls fails if it leaves a tensor that nothing holds. */
export function tfjsEngines({ lanes }: { readonly lanes: number }): { readonly name: string; readonly create: () => Backend }[] {
  return foundKinds().map((found) => ({
    name: `tfjs (${found.kind})`,
    create: () => tfjsBackend({ threads: 1, lanes, found, countsTensors: true }),
  }))
}
