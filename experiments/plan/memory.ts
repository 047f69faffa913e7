/**
 * @file Memory of the server and of one client, term by term, in bytes. Pure; every term says what it is made of.
 */
import type { Config } from '../../shared/config/schema.js'
import type { Graph, ValueId } from '../../shared/graph/data.js'
import { isNarrow } from '../../shared/model/narrow.js'
import type { PerModule } from '../../shared/model/module-selection.js'
import type { BottomGraphs, TopGraphs } from '../../shared/model/stage-graphs.js'
import type { BatchSize } from './flops.js'
import { peakBytes, valueBytes } from './live-bytes.js'
import { largestAsNumbers, prepackedBytes, weightBytes } from './weight-bytes.js'
import { packedByteLength } from '../../shared/protocol/codec/index.js'
import { rememberingEnds } from '../../shared/protocol/codec/name.js'
import type { CutCodecNames, Direction as CutDirection } from '../../shared/protocol/codec/setting.js'
import type { CodecGroup } from './codecs.js'

const F32_BYTES = 4
/**
 * Private memory of a process beyond all else that is planned, as `bench memory` measured it on Linux x64 with Node 20, glibc and the settings of own-program.ts:
 * of one that computes nothing (a server that only averages: 43); with ONNX Runtime and a worker, programs that give back what they have used (clients of
 * the GPT-2 small and SmolLM2-135M shapes: 62 to 93); and with programs that keep it, in an arena that grows by doubling and is never full (servers of both
 * shapes: 125 to 146; whole models of width 256: 129 to 139).
 */
export const PROCESS_BYTES = { idle: 43e6, gives: 77e6, keeps: 130e6 }

/** Of each further lane: its worker, and how far its arena is from full (a server of width 256 with two: 54). */
const LANE_BYTES = 50e6

export interface MemoryTerm {
  readonly name:
    | 'process'
    | 'weights_mapped'
    | 'weights_prepacked'
    | 'weights_as_numbers'
    | 'adapter'
    | 'gradients'
    | 'moments'
    | 'kept_activations'
    | 'working'
    | 'transport'
    | 'row_memory'
    | 'replies'
  readonly bytes: number
  /** What it is the size of. */
  readonly of: string
}

export interface NodeMemory {
  readonly terms: readonly MemoryTerm[]
  readonly total_bytes: number
  /** The total without what is mapped from files, which processes of a machine share: what Linux counts as the process's own. */
  readonly private_bytes: number
}

export interface MemorySetting {
  readonly config: Config
  readonly hiddenSize: number
  readonly clients: number
  /** Of the adapter's modules. */
  readonly ranks: PerModule
  /** Lanes of the server in which the top computes. */
  readonly topLanes: number
  /** Names of the weights that are kept in 8-bit blocks. */
  readonly inBlocks: ReadonlySet<string>
  /** The largest micro-batch. */
  readonly size: BatchSize
  /** Values of the adapter of each side; a side without blocks has none. */
  readonly adapterParameters: { readonly client: number; readonly server: number }
  /** What clients pack with: each as `clients` of them do. */
  readonly codecs: readonly CodecGroup[]
}

/**
 * A client of a split run:
 * process          PROCESS_BYTES: of programs that keep memory where the model is narrow, else of such as give it back
 * weights_mapped   4 for each value of its frozen weights (in blocks: 1, and 4 for each block, along rows and along columns), which are mapped from files and shared by all processes of a machine
 * weights_prepacked of weights in blocks: a copy for each training program, for each way round that it multiplies them
 * weights_as_numbers of weights in blocks: 4 for each value of the largest that evaluation multiplies, which it takes apart for the while
 * adapter          4 P for P values of its adapter
 * gradients        4 P
 * moments          8 P for AdamW's two, none for sgd
 * kept_activations what `partition` keeps of the forward pass for the backward pass, at the size of the largest micro-batch
 * working          the most that lives at once beside that, in forward, backward or evaluation (`peakBytes`); in forward and backward together where each keeps its memory
 * transport        the larger of a message of activations and one of the adapter with its moments, twice: coded, and packed in waiting chunks;
 *                  and the gradient that comes back, coded and decoded
 * row_memory       codec_cache_bytes, at most, for each direction in which its codec has it remember rows
 */
export function splitClientMemory(setting: MemorySetting, graphs: BottomGraphs): NodeMemory {
  const { config, size, ranks, hiddenSize, adapterParameters } = setting
  const kept = graphs.saved.reduce((sum, name) => sum + valueBytes(graphs.forward, outputId(graphs.forward, name), size, ranks), 0)
  const peaks = [graphs.forward, graphs.backward].map((graph) => peakBytes(graph, size, ranks) - kept)
  const largest = (direction: CutDirection): number => Math.max(...setting.codecs.map(({ names }) => packed(setting, names[direction])))
  const message = largest('activations')
  const gradient = largest('gradients') + F32_BYTES * size.tokens * hiddenSize
  return node([
    ...side(setting, adapterParameters.client, [graphs.forward, graphs.backward], graphs.evaluation),
    { name: 'kept_activations', bytes: kept, of: 'what the forward pass keeps for the backward pass' },
    {
      name: 'working',
      bytes: Math.max(keepsMemory(setting) ? peaks[0] + peaks[1] : Math.max(0, ...peaks), peakBytes(graphs.evaluation, size, ranks)),
      of: 'values that live at once while it computes',
    },
    { name: 'transport', bytes: 2 * Math.max(message, adapterMessage(setting)) + gradient, of: 'messages being packed, sent and read' },
    ...rowMemory(config, Math.max(...setting.codecs.map(({ names }) => rememberedDirections(names, 'client')))),
  ])
}

/** A client that holds the whole model: as `splitClientMemory`, with loss and backward in one program, and the adapter as its only message. */
export function wholeClientMemory(setting: MemorySetting, graphs: TopGraphs): NodeMemory {
  return node([
    ...side(setting, setting.adapterParameters.client, [graphs.training], graphs.evaluation),
    working(setting, graphs),
    { name: 'transport', bytes: 2 * adapterMessage(setting), of: 'messages being packed, sent and read' },
  ])
}

/**
 * The server of a split run with K clients:
 * process            PROCESS_BYTES, of programs that keep memory; and LANE_BYTES for each lane of the top but the first
 * weights_mapped     as a client's
 * working            as a client's, for each lane in which the top computes; forward, loss and backward are one program, so nothing is kept between calls
 * weights_prepacked  4 for each value of a weight, for each way round (as it is, or transposed) that a product of the training program takes it:
 *                    prepacking copies it so; and for each lane
 * weights_as_numbers as a client's
 * adapter            4 (P + Q) for Q values of the top's adapter, and P of the clients'; K copies of Q if the top is replicated
 * gradients          4 Q for each client whose step waits for the others (joint), else 4 Q
 * moments            8 Q for AdamW, K times if replicated; and 8 P where the clients' moments are averaged
 * transport          for each client the activations that wait for their turn, packed and decoded, but decoded max_inflight_bytes at most or those of one;
 *                    and the last gradients, kept for repeats
 * row_memory         as a client's, for each client
 * replies            for each client the adapter, and moments that are averaged, that it sends at the round's end, as packed and as read
 */
export function splitServerMemory(setting: MemorySetting, graphs: TopGraphs): NodeMemory {
  const { config, clients, size, hiddenSize, adapterParameters } = setting
  const { client: ofClients, server: ofServer } = adapterParameters
  const { top } = config.federation
  const copies = top === 'replicated' ? clients : 1
  const overClients = (of: (names: CutCodecNames) => number): number =>
    setting.codecs.reduce((sum, group) => sum + group.clients * of(group.names), 0)
  const batch = F32_BYTES * size.tokens * hiddenSize
  const decoded = Math.min(clients * batch, Math.max(batch, config.transport.max_inflight_bytes))
  const inbound = (decoded / batch / clients) * overClients(({ activations }) => packed(setting, activations)) + decoded
  const kept = overClients(({ gradients }) => packed(setting, gradients))
  return node([
    processTerm('keeps', setting.topLanes - 1),
    mapped([graphs.training], setting.inBlocks),
    prepackedTerm(setting.topLanes * prepackedBytes(graphs.training, setting.inBlocks)),
    ...asNumbers(setting, graphs.evaluation),
    { name: 'adapter', bytes: F32_BYTES * (ofClients + copies * ofServer), of: "the clients' adapter and the top's" },
    { name: 'gradients', bytes: F32_BYTES * (top === 'joint' ? clients : 1) * ofServer, of: "gradients of the top's adapter" },
    { name: 'moments', bytes: momentBytes(config, copies * ofServer) + sentMomentBytes(setting), of: 'moments of adapters' },
    working(setting, graphs, setting.topLanes),
    { name: 'transport', bytes: inbound + kept, of: 'activations that wait, and answers kept for repeats' },
    ...rowMemory(
      config,
      overClients((names) => rememberedDirections(names, 'server')),
    ),
    replies(setting),
  ])
}

/** A server of clients that hold the whole model: it only averages, or stores what each has of its own (`local`). */
export function averagingServerMemory(setting: MemorySetting): NodeMemory {
  const { config, clients, adapterParameters } = setting
  const isLocal = config.split.topology === 'local'
  const stored = isLocal ? clients : 1
  return node([
    processTerm('idle'),
    {
      name: 'adapter',
      bytes: F32_BYTES * stored * adapterParameters.client,
      of: isLocal ? 'the adapter of each client' : "the clients' adapter",
    },
    { name: 'moments', bytes: stored * sentMomentBytes(setting), of: 'moments of adapters' },
    replies(setting),
  ])
}

function side(setting: MemorySetting, parameters: number, graphs: readonly Graph[], evaluation: Graph): MemoryTerm[] {
  const { config, inBlocks } = setting
  // Each program has a copy of its own of what it multiplies in codes.
  const prepacked = inBlocks.size === 0 ? 0 : graphs.reduce((sum, graph) => sum + prepackedBytes(graph, inBlocks), 0)
  return [
    processTerm(keepsMemory(setting) ? 'keeps' : 'gives'),
    mapped(graphs, inBlocks),
    ...(prepacked === 0 ? [] : [prepackedTerm(prepacked)]),
    ...asNumbers(setting, evaluation),
    { name: 'adapter', bytes: F32_BYTES * parameters, of: 'its adapter' },
    { name: 'gradients', bytes: F32_BYTES * parameters, of: 'gradients of its adapter' },
    { name: 'moments', bytes: momentBytes(config, parameters), of: 'moments of its adapter' },
  ]
}

const processTerm = (kind: keyof typeof PROCESS_BYTES, moreLanes = 0): MemoryTerm => ({
  name: 'process',
  bytes: PROCESS_BYTES[kind] + moreLanes * LANE_BYTES,
  of: kind === 'idle' ? 'program' : 'program and engine beside any model',
})
const prepackedTerm = (bytes: number): MemoryTerm => ({ name: 'weights_prepacked', bytes, of: 'weights as training programs lay them out' })
function asNumbers({ inBlocks }: MemorySetting, evaluation: Graph): MemoryTerm[] {
  const bytes = largestAsNumbers(evaluation, inBlocks)
  return bytes === 0 ? [] : [{ name: 'weights_as_numbers', bytes, of: 'the largest weight in blocks, as float32, while it evaluates' }]
}

const mapped = (graphs: readonly Graph[], inBlocks: ReadonlySet<string>): MemoryTerm => ({
  name: 'weights_mapped',
  bytes: weightBytes(graphs, inBlocks),
  of: 'frozen weights, mapped from files',
})

function working({ size, ranks }: MemorySetting, { training, evaluation }: TopGraphs, lanes = 1): MemoryTerm {
  const bytes = Math.max(...[training, evaluation].map((graph) => peakBytes(graph, size, ranks)))
  return { name: 'working', bytes: lanes * bytes, of: 'values that live at once while it computes' }
}

/** A micro-batch's tensor as that codec packs it. */
function packed({ size, hiddenSize }: MemorySetting, codec: string): number {
  return packedByteLength(codec, [size.tokens, hiddenSize])
}

/** In how many directions an end remembers rows. Clients encode activations, and the server gradients. */
function rememberedDirections({ activations, gradients }: CutCodecNames, end: 'client' | 'server'): number {
  const [own, other] = [activations, gradients].map(rememberingEnds)
  const [encodes, decodes] = end === 'client' ? [own, other] : [other, own]
  return Number(encodes !== 'none') + Number(decodes === 'both')
}

function rowMemory({ transport }: Config, directions: number): MemoryTerm[] {
  const bytes = directions * transport.codec_cache_bytes
  return bytes === 0 ? [] : [{ name: 'row_memory', bytes, of: 'training rows that codecs remember, at most' }]
}

function replies(setting: MemorySetting): MemoryTerm {
  return { name: 'replies', bytes: setting.clients * 2 * adapterMessage(setting), of: "the clients' adapters at a round's end" }
}

/** 8 bytes for each value that AdamW trains. */
function momentBytes({ train }: Config, parameters: number): number {
  return train.optim === 'adamw' ? 2 * F32_BYTES * parameters : 0
}

/** Of the clients' adapter, where moments travel with it. */
function sentMomentBytes({ config, adapterParameters }: MemorySetting): number {
  return config.federation.optimizer_state === 'average' ? momentBytes(config, adapterParameters.client) : 0
}

function adapterMessage(setting: MemorySetting): number {
  return F32_BYTES * setting.adapterParameters.client + sentMomentBytes(setting)
}

/** Whether training programs of a client keep the memory that they have used (`stage.ts`). */
function keepsMemory({ hiddenSize }: MemorySetting): boolean {
  return isNarrow({ hiddenSize })
}

function outputId(graph: Graph, name: string): ValueId {
  return graph.outputs.get(name)!
}

function node(terms: readonly MemoryTerm[]): NodeMemory {
  const sum = (some: readonly MemoryTerm[]): number => some.reduce((total, { bytes }) => total + bytes, 0)
  return { terms, total_bytes: sum(terms), private_bytes: sum(terms.filter(({ name }) => name !== 'weights_mapped')) }
}
