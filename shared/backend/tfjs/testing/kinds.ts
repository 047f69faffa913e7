/**
 * @file Which kinds of TensorFlow.js tests are to run on: WASM always, and the native one where it is; else they say why not.
 */
import { findTfjs, type FoundTfjs } from '../kinds.node.js'

export function foundKinds(): FoundTfjs[] {
  const wasm = findTfjs({ ...process.env, CUTLAYER_TFJS: 'wasm' })
  const best = findTfjs({ ...process.env, CUTLAYER_TFJS: '' })
  if (best.kind === 'native') return [best, wasm]
  console.warn('the native TensorFlow.js is not installed (cutlayer engine install tfjs): its tests are skipped')
  return [wasm]
}
