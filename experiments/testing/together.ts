/**
 * @file Runs a whole run in this process by the functions that `run`, `server` and `client` use, and notes all that it tells.
 */
import type { ClientData } from '../../client/data.js'
import { helloOf, joinRun, memoryMoments, type ClientModel } from '../../client/join.js'
import { silentObserver, type Clock } from '../../server/observer.js'
import { startServer } from '../../server/start.js'
import type { Backend } from '../../shared/backend/backend.js'
import { quantizedWeights, type Precision } from '../../shared/backend/weights.js'
import type { ClientConfig, Config } from '../../shared/config/schema.js'
import { matricesInBlocks } from '../../shared/model/precision.js'
import { openGolden } from '../../shared/model/testing/golden.js'
import type { Activations, Gradients } from '../../shared/protocol/messages.js'
import type { RoundLine, StepLine, TrafficLine } from '../../shared/run-records.js'
import type { F32Tensor, NamedTensors } from '../../shared/tensor.js'
import { overMemory, type Connect } from './links.js'

export interface TogetherOptions {
  readonly config: Config
  readonly backend: Backend
  /** In how many lanes the top is; 1 if absent. */
  readonly topLanes?: number
  /** Of the frozen weights; float32 if absent. */
  readonly precision?: Precision
  /** Name of the golden model; GPT-2 if absent. */
  readonly golden?: string
  /** Of each client; they are called `client-0`, `client-1` and so on, unless `ids` says otherwise. */
  readonly data: readonly ((client: string, config: ClientConfig) => ClientData)[]
  readonly ids?: readonly string[]
  /** Starts from this adapter in place of a fresh one. */
  readonly start?: NamedTensors
  readonly connect?: Connect
  readonly clock?: Clock
  /** Hears of each step as the server does. */
  readonly onStep?: (line: StepLine) => void
}

export interface RunTogether {
  /** In the order that the server told them. */
  readonly steps: readonly StepLine[]
  readonly rounds: readonly RoundLine[]
  readonly traffic: readonly TrafficLine[]
  readonly adapter: Map<string, F32Tensor>
  /** Of each client, in the topology `local`. */
  adapterOf(client: string): Map<string, F32Tensor>
  /** What crossed the cut in training, as `client-0/1/0/0`: client, round, step, micro-batch. */
  readonly activations: ReadonlyMap<string, Activations>
  readonly gradients: ReadonlyMap<string, Gradients>
}

export async function runTogether({
  config,
  backend,
  topLanes = 1,
  precision = 'fp32',
  golden = 'gpt2',
  data,
  ids,
  start,
  connect,
  clock,
  onStep,
}: TogetherOptions): Promise<RunTogether> {
  const { model, weights: plain } = goldenModel(golden)
  const weights = precision === 'fp32' ? plain : await quantizedWeights(plain, matricesInBlocks(model.definition, precision))
  const steps: StepLine[] = []
  const rounds: RoundLine[] = []
  const traffic: TrafficLine[] = []
  const { server, dispose } = await startServer({
    config,
    run: 'together',
    model,
    weights,
    backend,
    topLanes,
    observer: {
      ...silentObserver,
      step(line) {
        steps.push(line)
        onStep?.(line)
      },
      round: (line) => void rounds.push(line),
      traffic: (lines) => void traffic.push(...lines),
    },
    token: null,
    ...(start ? { start } : {}),
    ...(clock ? { clock } : {}),
  })
  const activations = new Map<string, Activations>()
  const gradients = new Map<string, Gradients>()
  const clients = data.map(async (open, index) => {
    const client = ids?.[index] ?? `client-${index}`
    const hello = helloOf({ client, token: null, part: null, ownData: true, engine: backend.name, software: 'test' })
    const link = await (connect ?? overMemory)(hello, (end) => server.attach(end))
    link.onTraffic((_, message) => {
      const key = 'micro' in message ? `${client}/${message.round}/${message.step}/${message.micro}` : ''
      if (message.type === 'activations' && message.purpose === 'train') activations.set(key, message)
      if (message.type === 'gradients') gradients.set(key, message)
    })
    await joinRun({
      client,
      link,
      backend,
      lane: index,
      openModel: async () => ({ ...model, weights: async () => weights }),
      openData: async ({ config: own }) => open(client, own),
      moments: memoryMoments(),
    })
  })
  try {
    await Promise.all([server.finished, ...clients])
    return { steps, rounds, traffic, adapter: server.adapter(), adapterOf: (client) => server.adapter(client), activations, gradients }
  } finally {
    await dispose()
  }
}

/** A golden model as opening its folder gives it, its weights in memory. */
export function goldenModel(name: string): { model: ClientModel } & Pick<ReturnType<typeof openGolden>, 'weights'> {
  const { model: definition, weights } = openGolden(name)
  const model: ClientModel = {
    definition,
    architecture: definition.family.architecture(definition.config),
    name: 'golden',
    digest: { model: 'golden', tensors: new Map<string, string>() },
    parameters: 0,
    weights: async () => weights,
  }
  return { model, weights }
}
