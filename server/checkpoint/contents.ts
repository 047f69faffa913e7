/**
 * @file What a checkpoint holds, as tensors by file and facts; and back. Pure.
 *
 * Names in the files are led by what they are of, as `top/adapter/...` or `client-3/square/...`.
 */
import { f32, type F32Tensor, type NamedTensors } from '../../shared/tensor.js'
import type { OptimizerState } from '../../shared/train/optimizer.js'
import { cutBytes, type CutTraffic } from '../../shared/protocol/cut-bytes.js'
import type { ClientId } from '../round-state.js'
import type { OwnAdapter, SavedClients, SavedState } from '../saved-state.js'
import { CHECKPOINT_VERSION, type Best, type CheckpointFacts, type TensorFile } from './facts.js'
import { Torn } from './torn.js'

/** What the run's books say at the end of the round. */
export interface SavedRecord {
  readonly best: readonly Best[]
  readonly bytes: { readonly up: number; readonly down: number }
  readonly cut: CutTraffic
}

export interface CheckpointContents {
  readonly cutlayer: string
  readonly modelDigest: string
  readonly strategy: string
  readonly state: SavedState
  readonly record: SavedRecord
  /** Adapters of `record.best` that are no more the last ones, as far as there are any. */
  readonly bestAdapters: ReadonlyMap<ClientId | null, NamedTensors>
}

type Files = Map<TensorFile, Map<string, F32Tensor>>

/** Files without tensors are left out. */
export function packed(contents: CheckpointContents): { readonly facts: Omit<CheckpointFacts, 'files'>; readonly files: Files } {
  const { state, record } = contents
  const { clients, top } = state
  const files: Files = new Map()
  const put = (file: TensorFile, prefix: string, tensors: NamedTensors): void => {
    const all = files.get(file) ?? new Map<string, F32Tensor>()
    for (const [name, tensor] of tensors) all.set(`${prefix}${name}`, tensor)
    files.set(file, all)
  }
  const putMoments = (file: TensorFile, owner: string, moments: OptimizerState | null): number | null => {
    if (!moments) return null
    put(file, `${owner}/mean/`, moments.mean)
    put(file, `${owner}/square/`, moments.square)
    return moments.updates
  }
  put('adapter', 'clients/adapter/', clients.adapter)
  if (top) put('adapter', 'top/adapter/', top.adapter)
  const updates = {
    clients: putMoments('moments', 'clients', clients.moments),
    top: putMoments('moments', 'top', top?.moments ?? null),
    kept: [...(top?.kept ?? [])].map(([client, moments]) => ({ client, updates: putMoments('kept', client, moments) ?? 0 })),
  }
  const own = [...clients.own].map(([client, { round, adapter, moments }]) => {
    put('own', `${client}/adapter/`, adapter)
    return { client, round, updates: putMoments('own', client, moments) }
  })
  if (clients.strategy) put('strategy', 'state/tensors/', clients.strategy)
  for (const [client, adapter] of contents.bestAdapters) put('best', `${client ?? ''}/adapter/`, adapter)
  const cut = (direction: 'up' | 'down') => {
    const { payload_bytes, wire_bytes, fp32_bytes } = record.cut[direction]
    return { payload_bytes, wire_bytes, fp32_bytes }
  }
  const facts: Omit<CheckpointFacts, 'files'> = {
    version: CHECKPOINT_VERSION,
    cutlayer: contents.cutlayer,
    round: state.round,
    attempt: state.attempt,
    local_steps: state.localSteps,
    model_digest: contents.modelDigest,
    strategy: contents.strategy,
    members: state.members.map(({ id, part, counts, isReady }) => ({
      id,
      part,
      counts: counts && { examples: counts.examples, tokens: counts.tokens, eval_examples: counts.evalExamples },
      ready: isReady,
    })),
    kept_rounds: [...clients.keptRounds].map(([client, round]) => ({ client, round })),
    has_top: top !== null,
    updates,
    own,
    best: [...record.best],
    totals: { uplink_bytes: record.bytes.up, downlink_bytes: record.bytes.down, cut: { up: cut('up'), down: cut('down') } },
    traffic: [...state.traffic],
  }
  return { facts, files }
}

/**
 * @throws Torn if the files do not hold what the facts say.
 */
export function unpacked(facts: CheckpointFacts, files: ReadonlyMap<TensorFile, NamedTensors>): CheckpointContents {
  const grouped = new Map([...files].map(([file, tensors]) => [file, byPrefix(tensors)]))
  const group = (file: TensorFile, prefix: string): Map<string, F32Tensor> => grouped.get(file)?.get(prefix) ?? new Map<string, F32Tensor>()
  const [clientsHalf, topHalf] = [group('adapter', 'clients/adapter'), group('adapter', 'top/adapter')]
  const adapter = new Map([...clientsHalf, ...topHalf])
  if (adapter.size === 0) throw new Torn('there is no adapter in it')
  const moments = (file: TensorFile, owner: string, updates: number | null, of: NamedTensors): OptimizerState | null =>
    updates === null ? null : momentsOf({ updates, mean: group(file, `${owner}/mean`), square: group(file, `${owner}/square`) }, of, owner)
  const own = facts.own.map(({ client, round, updates }): [ClientId, OwnAdapter] => [
    client,
    {
      round,
      adapter: likeThose(group('own', `${client}/adapter`), clientsHalf, `the adapter of ${client}`),
      moments: moments('own', client, updates, clientsHalf),
    },
  ])
  const clients: SavedClients = {
    adapter: clientsHalf,
    moments: moments('moments', 'clients', facts.updates.clients, clientsHalf),
    keptRounds: new Map(facts.kept_rounds.map(({ client, round }) => [client, round])),
    strategy: files.has('strategy') ? group('strategy', 'state/tensors') : null,
    own: new Map(own),
  }
  const state: SavedState = {
    round: facts.round,
    attempt: facts.attempt,
    localSteps: facts.local_steps,
    members: facts.members.map(({ id, part, counts, ready }) => ({
      id,
      part,
      counts: counts && { examples: counts.examples, tokens: counts.tokens, evalExamples: counts.eval_examples },
      isReady: ready,
    })),
    clients,
    top: facts.has_top
      ? {
          adapter: topHalf,
          moments: moments('moments', 'top', facts.updates.top, topHalf),
          kept: new Map(facts.updates.kept.map(({ client, updates }) => [client, moments('kept', client, updates, topHalf)!])),
        }
      : null,
    traffic: facts.traffic,
  }
  const { uplink_bytes: up, downlink_bytes: down, cut } = facts.totals
  const bestAdapters = new Map<ClientId | null, NamedTensors>()
  for (const { client } of facts.best) {
    const stored = group('best', `${client ?? ''}/adapter`)
    if (stored.size > 0) bestAdapters.set(client, likeThose(stored, adapter, `the best adapter${client === null ? '' : ` of ${client}`}`))
  }
  return {
    cutlayer: facts.cutlayer,
    modelDigest: facts.model_digest,
    strategy: facts.strategy,
    state,
    record: { best: facts.best, bytes: { up, down }, cut: { up: cutBytes([cut.up]), down: cutBytes([cut.down]) } },
    bestAdapters,
  }
}

/** By what leads their names: all up to the second slash. Ids of clients have none, names of tensors may. */
function byPrefix(tensors: NamedTensors): Map<string, Map<string, F32Tensor>> {
  const groups = new Map<string, Map<string, F32Tensor>>()
  for (const [name, tensor] of tensors) {
    const end = name.indexOf('/', name.indexOf('/') + 1)
    const prefix = name.slice(0, Math.max(0, end))
    const group = groups.get(prefix) ?? new Map<string, F32Tensor>()
    groups.set(prefix, group.set(name.slice(end + 1), tensor))
  }
  return groups
}

/** Both moments of the same tensors, which are some of the adapter's: one that was never updated has none. @throws Torn */
function momentsOf({ updates, mean, square }: OptimizerState, adapter: NamedTensors, owner: string): OptimizerState {
  const updated = new Map([...adapter].filter(([name]) => mean.has(name)))
  const like = (moments: NamedTensors, which: string) => likeThose(moments, updated, `the ${which} of ${owner}`)
  return { updates, mean: like(mean, 'first moments'), square: like(square, 'second moments') }
}

/** The same names and shapes, in the same order. @throws Torn */
function likeThose(tensors: NamedTensors, like: NamedTensors, what: string): Map<string, F32Tensor> {
  if (tensors.size !== like.size) throw new Torn(`${what} has ${tensors.size} tensors, and should have ${like.size}`)
  return new Map(
    [...like].map(([name, { shape }]) => {
      const tensor = tensors.get(name)
      if (!tensor) throw new Torn(`${what} lacks ${name}`)
      if (tensor.shape.join() !== shape.join())
        throw new Torn(`${name} of ${what} is [${tensor.shape.join(', ')}], and should be [${shape.join(', ')}]`)
      return [name, f32(shape, tensor.data)]
    }),
  )
}
