/**
 * @file Runs a golden federated case by the functions that `run` uses. Injected are only the rows, the reported examples and the start adapter.
 */
import { fileURLToPath } from 'node:url'
import type { ClientData } from '../../client/data.js'
import { helloOf, joinRun, memoryMoments } from '../../client/join.js'
import type { Clock, RunObserver } from '../../server/observer.js'
import { silentObserver } from '../../server/observer.js'
import { startServer } from '../../server/start.js'
import type { Backend } from '../../shared/backend/backend.js'
import { parseConfig } from '../../shared/config/parse.js'
import type { Config } from '../../shared/config/schema.js'
import { goldenBatch, openGolden, readAdapter, readJson, readTensors } from '../../shared/model/testing/golden.js'
import type { ClientLink, ServerLink } from '../../shared/protocol/link.js'
import { memoryLinkPair, type MemoryLinkPair } from '../../shared/protocol/memory-link.js'
import { codecByName } from '../../shared/protocol/codec/index.js'
import type { StepLine } from '../../shared/run-records.js'
import type { F32Tensor } from '../../shared/tensor.js'

export interface FederatedGolden {
  readonly top: 'joint' | 'sequential' | 'replicated'
  readonly optimizer_state: 'average' | 'reset' | 'keep'
  readonly optim: 'adamw' | 'sgd'
  readonly clients: number
  readonly rounds: number
  readonly local_steps: number
  readonly cut_layer: number
  readonly weights: number[]
  readonly lr: number
  readonly weight_decay: number
  readonly max_grad_norm: number
  readonly accumulate: number
  readonly label_smoothing: number
  readonly warmup_ratio: number | null
  /** [client, round from 0, step]. */
  readonly dropped: [number, number, number][]
  readonly steps: {
    round: number
    step: number
    client: number | null
    loss?: number
    scored?: number
    client_grad_norm?: number
    top_grad_norm?: number
  }[]
}

export function federatedFile(name: string, file: string): string {
  return fileURLToPath(new URL(`../golden/${name}/${file}`, import.meta.url))
}

export interface FederatedRun {
  readonly lines: StepLine[]
  readonly adapter: Map<string, F32Tensor>
  /** dLoss/dZ of each client's micro-batches of the first step, by `client0.micro0`. */
  readonly firstGradients: Map<string, Float32Array>
}

export function federatedConfig(golden: FederatedGolden, changes: Record<string, Record<string, unknown>> = {}): Config {
  const groups: Record<string, Record<string, unknown>> = {
    model: { engine: 'reference' },
    split: { cut_layer: golden.cut_layer },
    lora: { r: 4, lora_alpha: 8, target_modules: ['c_attn'] },
    data: { path: 'injected' },
    train: {
      per_device_train_batch_size: 3,
      gradient_accumulation_steps: golden.accumulate,
      optim: golden.optim,
      learning_rate: golden.lr,
      lr_scheduler_type: golden.warmup_ratio === null ? 'constant' : 'linear',
      warmup_ratio: golden.warmup_ratio ?? 0,
      weight_decay: golden.weight_decay,
      max_grad_norm: golden.max_grad_norm,
      label_smoothing_factor: golden.label_smoothing,
    },
    federation: {
      num_rounds: golden.rounds,
      num_clients: golden.clients,
      local_steps: golden.local_steps,
      top: golden.top,
      optimizer_state: golden.optimizer_state,
      ...(golden.dropped.length > 0 ? { step_deadline_s: 1 } : {}),
    },
    transport: { kind: 'memory' },
  }
  for (const [group, keys] of Object.entries(changes)) groups[group] = { ...groups[group], ...keys }
  return parseConfig(groups)
}

export function loadFederated(name: string): FederatedGolden {
  return readJson(federatedFile(name, 'golden.json'))
}

/** How links are made; the default is memory. */
export type Connect = (client: string, attach: (link: ServerLink) => void) => Promise<ClientLink>

export async function runFederated(name: string, backend: Backend, connect?: Connect): Promise<FederatedRun> {
  const golden = loadFederated(name)
  const base = openGolden('gpt2')
  const config = federatedConfig(golden)
  const model = {
    definition: base.model,
    architecture: base.model.family.architecture(base.model.config),
    name: 'golden',
    digest: { model: 'golden', tensors: new Map<string, string>() },
    parameters: 0,
    weights: async () => base.weights,
  }
  const batches = readTensors(federatedFile(name, 'batches.safetensors'))
  const lines: StepLine[] = []
  const clock = manualClock()
  const deadline = new Deadlines(golden, clock, lines)
  const observer: RunObserver = {
    ...silentObserver,
    step(line) {
      lines.push(line)
      deadline.check()
    },
  }
  const started = await startServer({
    config,
    run: name,
    model,
    weights: base.weights,
    backend,
    observer,
    token: null,
    start: base.adapter,
    clock,
  })
  const firstGradients = new Map<string, Float32Array>()
  const clients = Array.from({ length: golden.clients }, async (_, index) => {
    const client = `client-${index}`
    let link: ClientLink
    if (connect) link = await connect(client, (end) => started.server.attach(end))
    else {
      const pair = memoryLinkPair({
        hello: helloOf({ client, token: null, part: null, ownData: true, engine: backend.name, software: 'test' }),
      })
      deadline.hold(index, pair)
      started.server.attach(pair.server)
      link = pair.client
    }
    link.onTraffic((_, message) => {
      if (message.type === 'gradients' && message.round === 1 && message.step === 0)
        firstGradients.set(`client${index}.micro${message.micro}`, codecByName('fp32').decode(message.hidden, message.hidden.shape))
    })
    const data: ClientData = {
      examples: golden.weights[index],
      tokens: golden.weights[index],
      evalExamples: 0,
      localStep: (round, step) =>
        Array.from({ length: golden.accumulate }, (_, micro) =>
          goldenBatch(batches, `client${index}.round${round}.step${step}.micro${micro}.`),
        ),
      *evaluation() {},
    }
    await joinRun({ client, link, backend, lane: 0, openModel: async () => model, openData: async () => data, moments: memoryMoments() })
  })
  await Promise.all([started.server.finished, ...clients])
  const adapter = started.server.adapter()
  await started.dispose()
  return { lines, adapter, firstGradients }
}

export function goldenAdapter(name: string): Map<string, F32Tensor> {
  return new Map([...readAdapter(federatedFile(name, 'golden.safetensors'))].filter(([key]) => key.includes('lora_')))
}

/** Time that only passes when told to. */
function manualClock(): Clock & { advance(ms: number): void } {
  let now = 0
  const timers = new Set<{ at: number; task: () => void }>()
  return {
    now: () => now,
    after(ms, task) {
      const timer = { at: now + ms, task }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      now += ms
      for (const timer of [...timers])
        if (timer.at <= now) {
          timers.delete(timer)
          timer.task()
        }
    },
  }
}

/** Holds back each dropped step's activations, and lets its deadline pass when all others are in. */
class Deadlines {
  private readonly held = new Map<string, { caught: boolean; release: () => void }>()

  constructor(
    private readonly golden: FederatedGolden,
    private readonly clock: ReturnType<typeof manualClock>,
    private readonly lines: readonly StepLine[],
  ) {}

  hold(index: number, pair: MemoryLinkPair): void {
    for (const [client, round, step] of this.golden.dropped) {
      if (client !== index) continue
      const back = pair.hold((message) => message.type === 'activations' && message.round === round + 1 && message.step === step)
      const entry = { caught: false, release: () => back.release() }
      this.held.set(`${round + 1}/${step}`, entry)
      void back.caught.then(() => {
        entry.caught = true
        this.check()
      })
    }
  }

  check(): void {
    for (const [key, { caught, release }] of this.held) {
      const [round, step] = key.split('/').map(Number)
      const inTime = this.lines.filter((line) => line.round === round && line.step === step && line.client !== null).length
      if (!caught || inTime < this.golden.clients - 1) continue
      this.held.delete(key)
      // A turn later, so that the machine has finished with the event that brought us here.
      setImmediate(() => {
        this.clock.advance(1000)
        release()
      })
    }
  }
}
