/**
 * @file The worker's side of a lane: answers calls one after the other, in the order they came, and holds the kept values.
 */
import { parentPort, workerData, type TransferListItem } from 'node:worker_threads'
import { unreachable } from '../../errors.js'
import type { Tensor } from '../../tensor.js'
import { EngineClock } from './engine-clock.node.js'
import type { Answer, Call, Feed, Reply, Request, RunRequest } from './messages.js'

/** What an engine does in there; `Value` is what it holds a tensor in. */
export interface ServedEngine<Model, Value> {
  /** Called before each `compile`. @throws EngineMissing if the engine cannot be loaded */
  load(): Promise<void>
  compile(program: number, model: Model): Promise<void>
  /** @param names of the results that are wanted, at least one */
  run(program: number, inputs: ReadonlyMap<string, Value>, names: ReadonlySet<string>): Promise<ReadonlyMap<string, Value>>
  disposeProgram(program: number): Promise<void>
  fromHost(tensor: Tensor): Value
  /** @param copies needed where the numbers stay here too, since those of an answer move to the other thread */
  toHost(value: Value, copies: boolean): Tensor
  shapeOf(value: Value): readonly number[]
  /** Frees a value that nothing here holds any more. */
  free(value: Value): void
  close(): Promise<void>
  /** Called after each call that was answered, `close` excepted. @throws Error if something is held that should not be */
  afterCall?(kept: ReadonlySet<Value>): void
}

export class EngineMissing extends Error {}

/** What the worker was started with, and its end of the line to whoever did. */
interface Port {
  readonly setup: unknown
  listen(onMessage: (message: unknown) => void): void
  post(message: object, moved: readonly TransferListItem[]): void
  close(): void
}

/** Of this thread, or of this process if it was forked for it. */
export const port: Port = parentPort ? threadPort(parentPort) : processPort()

function threadPort(own: NonNullable<typeof parentPort>): Port {
  return {
    setup: workerData,
    listen: (onMessage) => own.on('message', onMessage),
    post: (message, moved) => own.postMessage(message, moved),
    close: () => own.close(),
  }
}

function processPort(): Port {
  // Whoever started it says when it ends: Ctrl-C reaches both, and there may be a step to finish.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  process.on('disconnect', () => process.exit(0))
  return {
    setup: JSON.parse(process.argv[2] ?? unreachable('the worker was started without its setup')),
    listen: (onMessage) => process.on('message', onMessage),
    post: (message) => process.send!(message),
    close: () => process.disconnect(),
  }
}

export function serveLane<Model, Value>(engine: ServedEngine<Model, Value>, { traced }: { readonly traced: boolean }): void {
  const clock = traced ? new EngineClock() : null
  const kept = new Map<number, Value>()

  const open = (id: number): Value => kept.get(id) ?? unreachable(`handle ${id} was released`)

  async function answer(request: Request<Model>): Promise<Answer> {
    switch (request.type) {
      case 'compile': {
        await engine.load()
        const stop = clock?.start()
        await engine.compile(request.program, request.model)
        clock?.findThreads()
        return { ...EMPTY, ...stop?.() }
      }
      case 'run':
        return await run(request)
      case 'read':
        return { ...EMPTY, tensors: { '': engine.toHost(open(request.id), true) } }
      case 'release':
        for (const id of request.ids) release(id)
        return EMPTY
      case 'dispose':
        await engine.disposeProgram(request.program)
        return EMPTY
      case 'close':
        await engine.close()
        kept.clear()
        return EMPTY
      default:
        return unreachable('a request of no known type')
    }
  }

  async function run({ program, feeds, returns, keeps }: RunRequest): Promise<Answer> {
    const names = new Set([...returns, ...keeps.map(({ name }) => name)])
    if (names.size === 0) return EMPTY
    const given = new Map(Object.entries(feeds).map(([name, feed]) => [name, valueOf(feed)]))
    const stop = clock?.start()
    const results = await engine.run(program, given, names).finally(() => {
      for (const [name, feed] of Object.entries(feeds)) if (feed.kind === 'tensor') engine.free(given.get(name)!)
    })
    const times = stop?.()
    // Some engines start their threads when there is first something to compute.
    clock?.findThreads()
    const keptNames = new Set(keeps.map(({ name }) => name))
    const tensors = Object.fromEntries(returns.map((name) => [name, engine.toHost(results.get(name)!, keptNames.has(name))]))
    for (const { name, id } of keeps) kept.set(id, results.get(name)!)
    for (const [name, value] of results) if (!keptNames.has(name)) engine.free(value)
    return { tensors, shapes: Object.fromEntries(keeps.map(({ name }) => [name, engine.shapeOf(results.get(name)!)])), ...times }
  }

  function valueOf(feed: Feed): Value {
    return feed.kind === 'handle' ? open(feed.id) : engine.fromHost(feed.tensor)
  }

  /** Frees at once, not when garbage is collected; two handles may hold one value. */
  function release(id: number): void {
    const value = open(id)
    kept.delete(id)
    if (![...kept.values()].includes(value)) engine.free(value)
  }

  async function serve({ call, request }: Call<Model>): Promise<void> {
    let reply: Reply
    const moved: TransferListItem[] = []
    try {
      const result = await answer(request)
      if (request.type !== 'close') engine.afterCall?.(new Set(kept.values()))
      for (const { data } of Object.values(result.tensors)) moved.push(data.buffer as ArrayBuffer)
      reply = { call, answer: result }
    } catch (error) {
      reply = { call, error: error instanceof Error ? error.message : String(error), missing: error instanceof EngineMissing }
    }
    port.post(reply, moved)
    if (request.type === 'close') port.close()
  }

  let last: Promise<void> = Promise.resolve()
  port.listen((message) => {
    last = last.then(() => serve(message as Call<Model>))
  })
}

const EMPTY: Answer = { tensors: {}, shapes: {} }
