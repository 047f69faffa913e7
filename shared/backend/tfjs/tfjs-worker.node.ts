/**
 * @file What one lane's programs run in: TensorFlow.js blocks its thread while it computes. A thread for WASM and the plain back end; a process
 * of its own for the native one, which reads its number of threads from the environment.
 */
import { unreachable } from '../../errors.js'
import type { ValueId } from '../../graph/data.js'
import { EngineMissing, port, serveLane } from '../lanes/serve.node.js'
import { FrozenWeights } from './frozen-weights.node.js'
import type { Kernels, TfTensor } from './kernels.js'
import { loadKernels } from './load.node.js'
import { TfjsProgram } from './program.js'
import type { WorkerModel, WorkerSetup } from './worker-setup.js'

interface Compiled {
  readonly program: TfjsProgram
  readonly weights: WorkerModel['weights']
}

const setup = port.setup as WorkerSetup
const programs = new Map<number, Compiled>()
const frozen = new FrozenWeights()
let kernels: Kernels | undefined

serveLane<WorkerModel, TfTensor>(
  {
    async load() {
      kernels ??= await loadKernels(setup.kind, setup.from).catch((error: unknown) => {
        throw new EngineMissing(error instanceof Error ? error.message : String(error))
      })
    },
    async compile(id, { graph, weights }) {
      const program = new TfjsProgram(loaded(), graph, frozen.take(loaded().tf, weights))
      programs.set(id, { program, weights })
    },
    async run(id, inputs, names) {
      const { program } = programs.get(id) ?? unreachable(`program ${id} was disposed`)
      const results = program.run(inputs, [...names].map(valueId))
      return new Map([...names].map((name) => [name, results.get(valueId(name))!]))
    },
    async disposeProgram(id) {
      const compiled = programs.get(id)
      programs.delete(id)
      compiled?.program.dispose()
      if (compiled) frozen.release(compiled.weights)
    },
    fromHost: ({ dtype, data, shape }) => loaded().tf.tensor(data, [...shape], dtype === 'f32' ? 'float32' : 'int32'),
    toHost(tensor, copies) {
      const { shape } = tensor
      const data = tensor.dataSync()
      // The plain back end hands out its own array, which a weight or a constant may share.
      const own = copies || setup.kind === 'cpu'
      if (data instanceof Float32Array) return { dtype: 'f32', shape, data: own ? data.slice() : data }
      if (data instanceof Int32Array) return { dtype: 'i32', shape, data: own ? data.slice() : data }
      return unreachable(`an output of type ${tensor.dtype}`)
    },
    shapeOf: ({ shape }) => shape,
    free: (tensor) => tensor.dispose(),
    async close() {
      for (const { program, weights } of programs.values()) {
        program.dispose()
        frozen.release(weights)
      }
      programs.clear()
    },
    ...(setup.countsTensors ? { afterCall: expectNoneLeft } : {}),
  },
  setup,
)

function loaded(): Kernels {
  return kernels ?? unreachable('nothing was compiled')
}

function valueId(name: string): ValueId {
  return Number(name)
}

function expectNoneLeft(kept: ReadonlySet<TfTensor>): void {
  const held = [...programs.values()].reduce((sum, { program }) => sum + program.heldTensors, frozen.count + kept.size)
  const there = kernels?.tf.memory().numTensors ?? 0
  if (there !== held) throw new Error(`there are ${there} tensors, and ${held} are held: ${there - held} leaked`)
}
