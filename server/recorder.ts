/**
 * @file Writes what happens in a run into its directory: lines, the last adapter, the best one, and the summary.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../shared/config/schema.js'
import type { UserError } from '../shared/errors.js'
import { namedAdapters } from '../shared/model/adapter-folders.node.js'
import type { LoraConfig } from '../shared/model/adapter.js'
import { writePeftAdapter } from '../shared/model/peft.node.js'
import { cutBytes, cutTraffic, type CutTraffic } from '../shared/protocol/cut-bytes.js'
import type { RoundLine, Summary, TrafficLine } from '../shared/run-records.js'
import type { NamedTensors } from '../shared/tensor.js'
import { silentTrace, traced, type Trace } from '../shared/trace.js'
import { cardOf } from './adapter-card.js'
import type { SavedRecord } from './checkpoint/contents.js'
import type { RunObserver } from './observer.js'
import type { RunDirectory } from './run-directory.js'

export interface RecorderOptions {
  readonly directory: RunDirectory
  readonly config: Config
  readonly lora: LoraConfig
  readonly model: { readonly name: string; readonly revision: string | null; readonly digest: string }
  /** When the run began, of one that was interrupted. */
  readonly begunAt?: Date | undefined
  readonly trace?: Trace
}

/** An adapter that a round ended with. */
interface Ended {
  readonly round: number
  readonly adapter: NamedTensors
}

/** The books of an interrupted run as of its checkpoint, and the adapters that belong to them. */
export interface ResumedRecord {
  readonly rounds: readonly RoundLine[]
  /** Of the last round, as far as its lines are written; `record` does not count them. */
  readonly traffic: readonly TrafficLine[]
  readonly record: SavedRecord
  /** The last ones. */
  readonly adapters: ReadonlyMap<string | null, Ended>
  /** Those that are others. */
  readonly bestAdapters: ReadonlyMap<string | null, NamedTensors>
}

/** What is known of a run when it ends, for the summary, scripts and people. */
export interface RunRecord {
  readonly rounds: readonly RoundLine[]
  readonly best: RoundLine | null
  readonly bytes: { readonly up: number; readonly down: number }
  /** Of them, what the tensors at the cut took. */
  readonly cut: CutTraffic
  /** Whether the server has ended it, well or not. */
  readonly isOver: boolean
}

export class RunRecorder implements RunObserver {
  private readonly rounds: RoundLine[] = []
  private best: RoundLine | null = null
  /** Of each client in the topology `local`; null: the one that all share. */
  private readonly lastAdapters = new Map<string | null, Ended>()
  /** Of each of those the lowest held-out loss after training, and after which round of its own. */
  private readonly bests = new Map<string | null, { readonly round: number; readonly evalLoss: number }>()
  /** Adapters are written one after the other. Nobody waits for the best one but the end of the run, which also waits for one cut short. */
  private writing: Promise<void> = Promise.resolve()
  private readonly bytes = { up: 0, down: 0 }
  private cut = cutTraffic([])
  private isOver = false
  /** Of the rounds that were made before the run was interrupted. */
  private secondsBefore = 0

  constructor(private readonly options: RecorderOptions) {}

  get record(): RunRecord {
    return { rounds: this.rounds, best: this.best, bytes: this.bytes, cut: this.cut, isOver: this.isOver }
  }

  event: RunObserver['event'] = (event) => {
    if (event.event === 'end') this.isOver = true
    this.options.directory.appendEvent(event)
  }

  step: RunObserver['step'] = (line) => this.options.directory.appendStep(line)

  traffic: RunObserver['traffic'] = (lines) => {
    for (const line of lines) this.options.directory.appendTraffic(line)
    this.book(lines)
  }

  private book(lines: readonly TrafficLine[]): void {
    for (const line of lines) this.bytes[line.direction] += line.wire_bytes
    const more = cutTraffic(lines)
    this.cut = { up: cutBytes([this.cut.up, more.up]), down: cutBytes([this.cut.down, more.down]) }
  }

  activity(): void {}
  work(): void {}

  async adapter(round: number, adapter: NamedTensors, client: string | null): Promise<void> {
    this.lastAdapters.set(client, { round, adapter })
    await this.enqueue(() => this.write('last', client, { round, adapter }))
  }

  round(line: RoundLine): void {
    this.rounds.push(line)
    this.options.directory.appendRound(line)
    if (line.round === 0) return
    if (this.lastAdapters.size > 0) this.noteBest(line)
    this.keepIfBest(null, line.eval_loss)
    for (const { id, eval_loss } of line.clients) this.keepIfBest(id, eval_loss)
  }

  private noteBest(line: RoundLine): void {
    if (line.eval_loss !== null && line.eval_loss < (this.best?.eval_loss ?? Infinity)) this.best = line
  }

  /** What a checkpoint holds of the books, once the adapters are on the disk that it speaks of. */
  async saved(): Promise<SavedRecord> {
    await this.writing
    const best = [...this.bests].map(([client, { round, evalLoss }]) => ({ client, round, eval_loss: evalLoss }))
    return { best, bytes: { ...this.bytes }, cut: this.cut }
  }

  /** Goes on with the books of an interrupted run. Adapters that it left are replaced by those of the checkpoint. */
  async resume({ rounds, traffic, record, adapters, bestAdapters }: ResumedRecord): Promise<void> {
    this.rounds.push(...rounds)
    this.secondsBefore = rounds.reduce((sum, { seconds }) => sum + seconds, 0)
    this.book(traffic)
    for (const direction of ['up', 'down'] as const) this.bytes[direction] += record.bytes[direction]
    this.cut = { up: cutBytes([this.cut.up, record.cut.up]), down: cutBytes([this.cut.down, record.cut.down]) }
    for (const { client, round, eval_loss } of record.best) this.bests.set(client, { round, evalLoss: eval_loss })
    for (const line of rounds) if (line.round > 0) this.noteBest(line)
    await this.removeStrayAdapters(adapters)
    for (const [client, ended] of adapters) {
      this.lastAdapters.set(client, ended)
      await this.enqueue(() => this.write('last', client, ended))
    }
    for (const { client, round, eval_loss } of record.best) {
      const last = adapters.get(client)
      const adapter = last?.round === round ? last.adapter : bestAdapters.get(client)
      if (adapter && this.options.config.output.save_best)
        await this.enqueue(() => this.write('best', client, { round, adapter }, eval_loss))
    }
  }

  /** Of rounds that will be made again, or that never came to a checkpoint. */
  private async removeStrayAdapters(adapters: ReadonlyMap<string | null, Ended>): Promise<void> {
    const { adapterDir, bestAdapterDir } = this.options.directory
    for (const [root, kept] of [
      [adapterDir, adapters],
      [bestAdapterDir, this.bests],
    ] as const) {
      if (kept.size === 0) await rm(root, { recursive: true, force: true })
      for (const client of namedAdapters(root)) if (!kept.has(client)) await rm(join(root, client), { recursive: true, force: true })
    }
  }

  private keepIfBest(client: string | null, evalLoss: number | null): void {
    const last = this.lastAdapters.get(client)
    if (!last || evalLoss === null || evalLoss >= (this.bests.get(client)?.evalLoss ?? Infinity)) return
    this.bests.set(client, { round: last.round, evalLoss })
    if (this.options.config.output.save_best) void this.enqueue(() => this.write('best', client, last, evalLoss))
  }

  /** After what is being written. */
  private enqueue(write: () => Promise<void>): Promise<void> {
    this.writing = this.writing.then(write)
    this.writing.catch(() => {}) // `finish` reports it
    return this.writing
  }

  /** Writes the summary. @throws UserError RUN_DIR_UNWRITABLE, also for what could not be written before. */
  async finish(status: Summary['status'], started: Date, error: UserError | null): Promise<void> {
    await this.writing
    const ended = new Date()
    const score = (line: RoundLine | null | undefined) =>
      line && line.eval_loss !== null ? { round: line.round, eval_loss: line.eval_loss, eval_perplexity: line.eval_perplexity } : null
    const trained = this.rounds.filter(({ round }) => round > 0)
    this.options.directory.writeSummary({
      status,
      started: (this.options.begunAt ?? started).toISOString(),
      ended: ended.toISOString(),
      seconds: this.secondsBefore + (ended.getTime() - started.getTime()) / 1000,
      rounds: trained.length,
      before: score(this.rounds.find(({ round }) => round === 0)),
      last: score(trained.at(-1)),
      best: score(this.best),
      uplink_bytes: this.bytes.up,
      downlink_bytes: this.bytes.down,
      error: error && error.report(),
    })
  }

  /** PEFT's layout: the adapter of all at the root, each of several in a folder of its name. */
  private write(which: 'last' | 'best', client: string | null, { round, adapter }: Ended, evalLoss: number | null = null): Promise<void> {
    const { config, lora, model, directory, trace = silentTrace } = this.options
    const root = which === 'last' ? directory.adapterDir : directory.bestAdapterDir
    const write = (): Promise<void> =>
      writePeftAdapter(client === null ? root : join(root, client), {
        lora,
        baseModel: model.name,
        revision: model.revision,
        init: config.lora.init_lora_weights,
        tensors: adapter,
        card: cardOf({ config, model, round, adapter, client, evalLoss }),
      })
    return traced(trace, 'files', `write the ${which} adapter`, write)
  }
}
