/**
 * @file The checkpoints of a run: writes one at each round's end, keeps the last few, and knows what clients may still be asked for.
 */
import { readPeftWeights } from '../../shared/model/peft.node.js'
import type { NamedTensors } from '../../shared/tensor.js'
import { silentTrace, traced, type Trace } from '../../shared/trace.js'
import { packageVersion } from '../../shared/version.node.js'
import type { CheckpointSink } from '../resume-from.js'
import type { ClientId } from '../round-state.js'
import type { RunDirectory } from '../run-directory.js'
import type { SavedState } from '../saved-state.js'
import type { SavedRecord } from './contents.js'
import { readFacts } from './read.js'
import { Torn } from './torn.js'
import { checkpointFolder, checkpointRounds, removeOldCheckpoints, writeCheckpoint } from './write.js'

export interface CheckpointsOptions {
  readonly directory: RunDirectory
  /** How many are kept (`output.save_total_limit`). */
  readonly limit: number
  readonly modelDigest: string
  readonly strategy: string
  /** What the books say, once all that was told before is written. */
  record(): Promise<SavedRecord>
  readonly trace?: Trace
}

export class Checkpoints implements CheckpointSink {
  /** By round of each checkpoint that is there: of which round each client has moments to go on with. */
  private readonly kept = new Map<number, ReadonlyMap<ClientId, number>>()

  constructor(private readonly options: CheckpointsOptions) {}

  /** Looks at those that are there, of a run that goes on. */
  async open(): Promise<void> {
    const root = this.options.directory.checkpointsDir
    for (const round of await checkpointRounds(root)) {
      try {
        this.note(
          round,
          (await readFacts(checkpointFolder(root, round), round)).kept_rounds.map(({ client, round: of }) => [client, of]),
        )
      } catch (error) {
        if (!(error instanceof Torn)) throw error // nobody will go on with it
      }
    }
  }

  /** The round of the newest one; null: there is none. */
  get last(): number | null {
    return this.kept.size === 0 ? null : Math.max(...this.kept.keys())
  }

  keptSince(client: ClientId): number | null {
    let oldest: number | null = null
    for (const rounds of this.kept.values()) {
      const round = rounds.get(client)
      if (round !== undefined && (oldest === null || round < oldest)) oldest = round
    }
    return oldest
  }

  /** @throws UserError RUN_DIR_UNWRITABLE; older ones are untouched then. */
  async save(state: SavedState): Promise<void> {
    const { directory, limit, modelDigest, strategy, trace = silentTrace } = this.options
    const record = await this.options.record()
    // A line that a checkpoint relies on is on the disk before it.
    await directory.sync()
    const write = async (): Promise<void> => {
      const bestAdapters = await this.bestAdapters(state, record)
      await directory.writing(async () => {
        const contents = { cutlayer: packageVersion(), modelDigest, strategy, state, record, bestAdapters }
        await writeCheckpoint(directory.checkpointsDir, contents)
        this.note(state.round, state.clients.keptRounds)
        await removeOldCheckpoints(directory.checkpointsDir, limit)
      })
    }
    await traced(trace, 'files', 'write a checkpoint', write)
    const left = new Set(await checkpointRounds(directory.checkpointsDir))
    for (const round of this.kept.keys()) if (!left.has(round)) this.kept.delete(round)
  }

  private note(round: number, kept: Iterable<readonly [ClientId, number]>): void {
    this.kept.set(round, new Map(kept))
  }

  /** Those that are not the last ones, from where the run keeps them. */
  private async bestAdapters(state: SavedState, { best }: SavedRecord): Promise<Map<ClientId | null, NamedTensors>> {
    const found = new Map<ClientId | null, NamedTensors>()
    for (const { client, round } of best) {
      if (round === (client === null ? state.round : state.clients.own.get(client)?.round)) continue
      const adapter = await readPeftWeights(this.options.directory.bestAdapterDirOf(client)).catch(() => null)
      // There is none where the run keeps none, or somebody has taken it away.
      if (adapter) found.set(client, adapter)
    }
    return found
  }
}
