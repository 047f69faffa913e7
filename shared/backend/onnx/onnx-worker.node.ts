/**
 * @file The thread that one lane's programs run in: ONNX Runtime blocks its thread while it computes.
 *
 * Calls are answered one after the other, in the order they came. Kept values stay here as the runtime's own tensors.
 */
import { parentPort, workerData, type TransferListItem } from 'node:worker_threads'
import type * as Runtime from 'onnxruntime-common'
import type { InferenceSession, OnnxValue, Tensor as OrtTensor } from 'onnxruntime-common'
import { unreachable } from '../../errors.js'
import type { Tensor } from '../../tensor.js'
import { EngineClock } from './engine-clock.node.js'
import type { Answer, Call, Feed, Reply, Request, WorkerSetup } from './worker-messages.js'

type Engine = typeof Runtime

const port = parentPort ?? unreachable('the worker has no parent')
const setup = workerData as WorkerSetup
const clock = setup.traced ? new EngineClock() : null
const sessions = new Map<number, InferenceSession>()
const kept = new Map<number, OrtTensor>()
const EMPTY: Answer = { tensors: {}, shapes: {} }

let loading: Promise<Engine> | undefined
class EngineMissing extends Error {}

async function loadEngine(): Promise<Engine> {
  loading ??= import(setup.engine).then(
    (module: Engine & { default?: Engine }) => module.default ?? module,
    (error: unknown) => {
      throw new EngineMissing(messageOf(error))
    },
  )
  return await loading
}

async function answer(request: Request): Promise<Answer> {
  switch (request.type) {
    case 'compile': {
      const { InferenceSession } = await loadEngine()
      const stop = clock?.start()
      sessions.set(request.program, await InferenceSession.create(request.bytes, sessionOptions(request)))
      clock?.findThreads()
      return { ...EMPTY, ...stop?.() }
    }
    case 'run':
      return await run(request)
    case 'read':
      return { ...EMPTY, tensors: { '': hostTensor(open(request.id), true) } }
    case 'release':
      for (const id of request.ids) release(id)
      return EMPTY
    case 'dispose': {
      const session = sessions.get(request.program)
      sessions.delete(request.program)
      await session?.release()
      return EMPTY
    }
    case 'close':
      for (const session of sessions.values()) await session.release()
      sessions.clear()
      kept.clear()
      return EMPTY
    default:
      return unreachable('a request of no known type')
  }
}

function sessionOptions({ folder, prepack, keepsMemory }: Extract<Request, { type: 'compile' }>): InferenceSession.SessionOptions {
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

async function run({ program, feeds, returns, keeps }: Extract<Request, { type: 'run' }>): Promise<Answer> {
  const session = sessions.get(program) ?? unreachable(`program ${program} was disposed`)
  const engine = await loadEngine()
  const inputs = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, runtimeTensor(engine, feed)]))
  const names = new Set([...returns, ...keeps.map(({ name }) => name)])
  // With no name at all, the runtime would return every output.
  const stop = clock?.start()
  const results = names.size > 0 ? await session.run(inputs, [...names]) : {}
  const times = stop?.()
  const shapes: Record<string, readonly number[]> = {}
  const kinds = new Set(keeps.map(({ name }) => name))
  for (const { name, id } of keeps) {
    const value = tensorOf(results[name], name)
    kept.set(id, value)
    shapes[name] = value.dims
  }
  const tensors = Object.fromEntries(returns.map((name) => [name, hostTensor(tensorOf(results[name], name), kinds.has(name))]))
  return { tensors, shapes, ...times }
}

function runtimeTensor({ Tensor }: Engine, feed: Feed): OrtTensor {
  if (feed.kind === 'handle') return open(feed.id)
  const { tensor } = feed
  return tensor.dtype === 'f32' ? new Tensor('float32', tensor.data, tensor.shape) : new Tensor('int32', tensor.data, tensor.shape)
}

function tensorOf(value: OnnxValue | undefined, name: string): OrtTensor {
  return value ?? unreachable(`no output called ${name}`)
}

function open(id: number): OrtTensor {
  return kept.get(id) ?? unreachable(`handle ${id} was released`)
}

/** Frees at once, not when garbage is collected; two handles may hold one value. */
function release(id: number): void {
  const tensor = open(id)
  kept.delete(id)
  if (![...kept.values()].includes(tensor)) tensor.dispose()
}

/** @param copy needed where the numbers stay here too, since those of an answer move to the other thread. */
function hostTensor(tensor: OrtTensor, copy: boolean): Tensor {
  const { data, dims: shape } = tensor
  if (data instanceof Float32Array) return { dtype: 'f32', shape, data: copy ? data.slice() : data }
  if (data instanceof Int32Array) return { dtype: 'i32', shape, data: copy ? data.slice() : data }
  return unreachable(`an output of type ${tensor.type}`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

async function serve({ call, request }: Call): Promise<void> {
  let reply: Reply
  const moved: TransferListItem[] = []
  try {
    const result = await answer(request)
    for (const { data } of Object.values(result.tensors)) moved.push(data.buffer as ArrayBuffer)
    reply = { call, answer: result }
  } catch (error) {
    reply = { call, error: messageOf(error), missing: error instanceof EngineMissing }
  }
  port.postMessage(reply, moved)
  if (request.type === 'close') port.close()
}

let last: Promise<void> = Promise.resolve()
port.on('message', (message: Call) => {
  last = last.then(() => serve(message))
})
