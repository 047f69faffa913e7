/**
 * @file Runs a golden federated case by the functions that `run` uses. Injected are only the rows, the reported examples and the start adapter.
 */
import { fileURLToPath } from 'node:url'
import type { Backend } from '../../shared/backend/backend.js'
import { parseConfig } from '../../shared/config/parse.js'
import type { Config } from '../../shared/config/schema.js'
import { goldenBatch, openGolden, readAdapter, readJson, readTensors } from '../../shared/model/testing/golden.js'
import { decodeTensor, FP32 } from '../../shared/protocol/codec/index.js'
import { memoryLinkPair, type MemoryLinkPair } from '../../shared/protocol/memory-link.js'
import type { StepLine } from '../../shared/run-records.js'
import type { F32Tensor } from '../../shared/tensor.js'
import type { Connect } from './links.js'
import { manualClock, type ManualClock } from './manual-clock.js'
import { runTogether } from './together.js'

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
  readonly lines: readonly StepLine[]
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

/** @param connect how clients are joined; the default is memory. A case with a dropped step needs that. */
export async function runFederated(name: string, backend: Backend, connect?: Connect): Promise<FederatedRun> {
  const golden = loadFederated(name)
  const batches = readTensors(federatedFile(name, 'batches.safetensors'))
  const clock = manualClock()
  const deadlines = new Deadlines(golden, clock)
  const overHeldMemory: Connect = async (hello, attach) => {
    const pair = memoryLinkPair({ hello })
    deadlines.hold(hello.client, pair)
    attach(pair.server)
    return pair.client
  }
  const { steps, adapter, gradients } = await runTogether({
    config: federatedConfig(golden),
    backend,
    start: openGolden('gpt2').adapter,
    connect: connect ?? overHeldMemory,
    clock,
    onStep: (line) => deadlines.check(line),
    data: golden.weights.map((weight, index) => () => ({
      examples: weight,
      tokens: weight,
      evalExamples: 0,
      localStep: (round, step) =>
        Array.from({ length: golden.accumulate }, (_, micro) =>
          goldenBatch(batches, `client${index}.round${round}.step${step}.micro${micro}.`),
        ),
      *evaluation() {},
    })),
  })
  const firstGradients = new Map<string, Float32Array>()
  for (const [key, { hidden }] of gradients) {
    const [, client, micro] = /^client-(\d+)\/1\/0\/(\d+)$/.exec(key) ?? []
    if (micro !== undefined) firstGradients.set(`client${client}.micro${micro}`, decodeTensor(FP32, hidden, hidden.shape))
  }
  return { lines: steps, adapter, firstGradients }
}

export function goldenAdapter(name: string): Map<string, F32Tensor> {
  return new Map([...readAdapter(federatedFile(name, 'golden.safetensors'))].filter(([key]) => key.includes('lora_')))
}

/** Holds back each dropped step's activations, and lets its deadline pass when all others are in. */
class Deadlines {
  private readonly held = new Map<string, { caught: boolean; release: () => void }>()
  /** Clients that are through with a step, by `round/step`. */
  private readonly inTime = new Map<string, number>()

  constructor(
    private readonly golden: FederatedGolden,
    private readonly clock: ManualClock,
  ) {}

  hold(client: string, pair: MemoryLinkPair): void {
    for (const [index, round, step] of this.golden.dropped) {
      if (client !== `client-${index}`) continue
      const back = pair.hold((message) => message.type === 'activations' && message.round === round + 1 && message.step === step)
      const entry = { caught: false, release: () => back.release() }
      this.held.set(`${round + 1}/${step}`, entry)
      void back.caught.then(() => {
        entry.caught = true
        this.letPass()
      })
    }
  }

  check({ round, step, client }: StepLine): void {
    const key = `${round}/${step}`
    if (client !== null) this.inTime.set(key, (this.inTime.get(key) ?? 0) + 1)
    this.letPass()
  }

  private letPass(): void {
    for (const [key, { caught, release }] of this.held) {
      if (!caught || (this.inTime.get(key) ?? 0) < this.golden.clients - 1) continue
      this.held.delete(key)
      // A turn later, so that the machine has finished with the event that brought us here.
      setImmediate(() => {
        this.clock.advance(1000)
        release()
      })
    }
  }
}
