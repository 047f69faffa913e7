/**
 * @file Loads TensorFlow.js, with one of its back ends.
 */
import { createRequire } from 'node:module'
import { dirname, sep } from 'node:path'
import util from 'node:util'
import { unreachable } from '../../errors.js'
import type { KernelAttributes, Kernels, TensorFlow, Tf, TfTensor } from './kernels.js'
import { NATIVE_PACKAGE, type TfjsKind } from './worker-setup.js'

/** @param from the file or folder from which packages are resolved */
export async function loadKernels(kind: TfjsKind, from: string): Promise<Kernels> {
  const require = createRequire(from)
  switch (kind) {
    case 'native': {
      restoreUtil(util)
      const tf = require(NATIVE_PACKAGE) as Tf
      tf.enableProdMode()
      return { kind, tf, tensorflow: tensorflowOf(tf.backend() as unknown as NodeBackend) }
    }
    case 'wasm': {
      const tf = core(require)
      const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm') as { setWasmPaths(folder: string): void }
      setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}${sep}`)
      return { kind, tf: await withBackend(tf, 'wasm'), tensorflow: null }
    }
    case 'cpu': {
      const tf = core(require)
      require('@tensorflow/tfjs-backend-cpu')
      return { kind, tf: await withBackend(tf, 'cpu'), tensorflow: null }
    }
    default:
      return unreachable('no such kind of TensorFlow.js')
  }
}

function core(require: NodeJS.Require): Tf {
  const tf = require('@tensorflow/tfjs-core') as Tf
  // Else it advertises its native package on the console.
  tf.enableProdMode()
  return tf
}

async function withBackend(tf: Tf, name: string): Promise<Tf> {
  if (!(await tf.setBackend(name))) throw new Error(`TensorFlow.js cannot start its back end ${name}`)
  return tf
}

/** Node 23 removed these, and tfjs-node-gpu 4.22 calls them. @param functions Node's module `util` */
export function restoreUtil(functions: { isNullOrUndefined?: unknown; isArray?: unknown }): void {
  functions.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined
  functions.isArray ??= Array.isArray
}

/** What of the native back end is used. */
interface NodeBackend {
  readonly binding: Readonly<Record<'TF_ATTR_TYPE' | 'TF_ATTR_BOOL' | 'TF_ATTR_FLOAT' | 'TF_ATTR_STRING' | 'TF_FLOAT' | 'TF_INT32', number>>
  executeMultipleOutputs(op: string, attributes: readonly object[], inputs: readonly TfTensor[], outputs: number): TfTensor[]
}

function tensorflowOf(backend: NodeBackend): TensorFlow {
  const { binding } = backend
  const written = (name: string, value: KernelAttributes[string]): object => {
    if (typeof value === 'boolean') return { name, type: binding.TF_ATTR_BOOL, value }
    if (typeof value === 'number') return { name, type: binding.TF_ATTR_FLOAT, value }
    if ('name' in value) return { name, type: binding.TF_ATTR_STRING, value: value.name }
    return { name, type: binding.TF_ATTR_TYPE, value: value.dtype === 'f32' ? binding.TF_FLOAT : binding.TF_INT32 }
  }
  return {
    run: (op, inputs, attributes, outputs) =>
      backend.executeMultipleOutputs(
        op,
        Object.entries(attributes).map(([name, value]) => written(name, value)),
        inputs,
        outputs,
      ),
  }
}
