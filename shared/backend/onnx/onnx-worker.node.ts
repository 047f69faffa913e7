/**
 * @file The thread that one lane's programs run in: ONNX Runtime blocks its thread while it computes. Kept values stay here as the runtime's own
 * tensors.
 */
import type * as Runtime from 'onnxruntime-common'
import type { InferenceSession, OnnxValue, Tensor as OrtTensor } from 'onnxruntime-common'
import { unreachable } from '../../errors.js'
import { EngineMissing, port, serveLane } from '../lanes/serve.node.js'
import { Garbage } from './garbage.node.js'
import type { WorkerModel, WorkerSetup } from './worker-setup.js'

type Engine = typeof Runtime

const setup = port.setup as WorkerSetup
const sessions = new Map<number, InferenceSession>()
/** Of programs that keep the memory that they use: what they gave is collected when V8 sees fit. */
const unhurried = new WeakSet<OrtTensor>()
const keepers = new Set<number>()
const garbage = new Garbage()
let engine: Engine | undefined

serveLane<WorkerModel, OrtTensor>(
  {
    async load() {
      engine ??= await import(setup.engine).then(
        (module: Engine & { default?: Engine }) => module.default ?? module,
        (error: unknown) => {
          throw new EngineMissing(error instanceof Error ? error.message : String(error))
        },
      )
    },
    async compile(program, model) {
      sessions.set(program, await loaded().InferenceSession.create(model.bytes, sessionOptions(model)))
      if (model.keepsMemory) keepers.add(program)
    },
    async run(program, inputs, names) {
      const session = sessions.get(program) ?? unreachable(`program ${program} was disposed`)
      const results = await session.run(Object.fromEntries(inputs), [...names])
      const tensors = new Map([...names].map((name) => [name, tensorOf(results[name], name)]))
      if (keepers.has(program)) for (const tensor of tensors.values()) unhurried.add(tensor)
      return tensors
    },
    async disposeProgram(program) {
      const session = sessions.get(program)
      sessions.delete(program)
      keepers.delete(program)
      await session?.release()
    },
    fromHost({ dtype, data, shape }) {
      const { Tensor } = loaded()
      return dtype === 'f32' ? new Tensor('float32', data, shape) : new Tensor('int32', data, shape)
    },
    toHost(tensor, copies) {
      const { data, dims: shape } = tensor
      if (data instanceof Float32Array) return { dtype: 'f32', shape, data: copies ? data.slice() : data }
      if (data instanceof Int32Array) return { dtype: 'i32', shape, data: copies ? data.slice() : data }
      return unreachable(`an output of type ${tensor.type}`)
    },
    shapeOf: ({ dims }) => dims,
    free(tensor) {
      if (!unhurried.has(tensor)) garbage.add(4 * tensor.size)
      tensor.dispose()
    },
    async close() {
      for (const session of sessions.values()) await session.release()
      sessions.clear()
    },
  },
  setup,
)

function loaded(): Engine {
  return engine ?? unreachable('nothing was compiled')
}

function tensorOf(value: OnnxValue | undefined, name: string): OrtTensor {
  return value ?? unreachable(`no output called ${name}`)
}

function sessionOptions({ folder, prepack, keepsMemory }: WorkerModel): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: setup.threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    // Planned as one block for each shape that it has met, a program's values take 400 MB more for a top of ten GPT-2 blocks, and are no faster.
    enableMemPattern: false,
    // An arena grows by doubling and never gives back, one for each program of a client: nearly half of its memory.
    enableCpuMemArena: keepsMemory,
    // Errors are reported by the calls that meet them.
    logSeverityLevel: 4,
    ...(setup.profile === null ? {} : { enableProfiling: true, profileFilePrefix: setup.profile }),
    // Names: onnxruntime_session_options_config_keys.h, nested by the dots after `session`.
    extra: {
      session: {
        'intra_op.allow_spinning': setup.spinning ? '1' : '0',
        disable_prepacking: prepack ? '0' : '1',
        // The model comes as bytes; its external data is found, and mapped, in this folder.
        ...(folder === null ? {} : { model_external_initializers_file_folder_path: folder }),
      },
    },
  }
}
