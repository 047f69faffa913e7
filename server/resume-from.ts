/**
 * @file What a server that goes on with an interrupted run begins with, and what it hands to whoever writes checkpoints.
 */
import { UserError } from '../shared/errors.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import type { ClientId, RoundState } from './round-state.js'
import { initialRounds, resumedRounds } from './round.js'
import type { SavedMember, SavedState } from './saved-state.js'

export interface ResumeFrom {
  /** As of the last round that is through; null: the run starts at its beginning. */
  readonly saved: SavedState | null
  /** The first attempt at rounds that were begun before; at all others 0. */
  readonly attempts: ReadonlyMap<number, number>
}

/** Takes the state of rounds that are over. */
export interface CheckpointSink {
  /** Resolves once it is on the disk. */
  save(state: SavedState): Promise<void>
  /** The oldest round of which a checkpoint that is there may ask the client for its kept moments; null: none does. */
  keptSince(client: ClientId): number | null
}

/** The round machine before the first round, or before the one that is to be made next. */
export function firstRounds({ saved, attempts }: ResumeFrom = { saved: null, attempts: new Map() }): RoundState {
  if (saved === null) return { ...initialRounds(), attempt: attempts.get(0) ?? 0, firstAttempts: attempts }
  const round = saved.round + 1
  const awaited = saved.members.filter(({ isReady }) => isReady).map(({ id }) => id)
  const state = resumedRounds({ round, attempt: attempts.get(round) ?? 0, localSteps: saved.localSteps, awaited })
  return { ...state, firstAttempts: attempts }
}

/**
 * What was saved, in the names and shapes of this run.
 * @throws UserError CHECKPOINT_CORRUPT if it is of another adapter.
 */
export function fitted(saved: SavedState, clients: NamedTensors, top: NamedTensors | null): SavedState {
  if ((top === null) !== (saved.top === null)) throw misfit(saved, 'the server trains a part of the adapter only in one of the two')
  return {
    ...saved,
    clients: { ...saved.clients, adapter: inOrder(saved, saved.clients.adapter, clients) },
    top: saved.top && { ...saved.top, adapter: inOrder(saved, saved.top.adapter, top!) },
  }
}

/** Who is in a run. @param before what was known of those who have not come back since */
export function membersOf(
  { members, awaited }: RoundState,
  parts: ReadonlyMap<ClientId, SavedMember['part']>,
  before: readonly SavedMember[],
  restarts: boolean,
): SavedMember[] {
  const known = new Map(before.map((member) => [member.id, member]))
  return [...parts].map(([id, part]) => {
    const member = members.get(id)
    const isReady = member?.present === true && member.counts !== null
    // Who is selected depends on who is ready: under `restart_round` nobody is ever left behind.
    return { id, part, counts: member?.counts ?? known.get(id)?.counts ?? null, isReady: isReady || (restarts && awaited.includes(id)) }
  })
}

function inOrder(saved: SavedState, tensors: NamedTensors, like: NamedTensors): Map<string, F32Tensor> {
  if (tensors.size !== like.size)
    throw misfit(saved, `it has ${tensors.size} tensors on one side of the cut, and this run has ${like.size}`)
  return new Map(
    [...like].map(([name, { shape }]) => {
      const tensor = tensors.get(name)
      if (tensor?.shape.join() !== shape.join())
        throw misfit(saved, `${name} is ${tensor ? `[${tensor.shape.join(', ')}]` : 'missing'}, and should be [${shape.join(', ')}]`)
      return [name, tensor]
    }),
  )
}

function misfit({ round }: SavedState, why: string): UserError {
  return new UserError({
    code: 'CHECKPOINT_CORRUPT',
    what: `the checkpoint of round ${round} is of another adapter`,
    why,
    fix: "go on with the run's own config and model",
  })
}
