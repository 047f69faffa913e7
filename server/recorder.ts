/**
 * @file Writes what happens in a run into its directory: lines, the last adapter, the best one, and the summary.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable, type UserError } from '../shared/errors.js'
import { adapterParameters, type LoraConfig } from '../shared/model/adapter.js'
import { writePeftAdapter } from '../shared/model/peft.node.js'
import type { RoundLine, Summary } from '../shared/run-records.js'
import type { NamedTensors } from '../shared/tensor.js'
import type { RunObserver } from './observer.js'
import type { RunDirectory } from './run-directory.js'

export interface RecorderOptions {
  readonly directory: RunDirectory
  readonly config: Config
  readonly lora: LoraConfig
  readonly model: { readonly name: string; readonly revision: string | null; readonly digest: string }
}

/** What is known of a run when it ends, for the summary, scripts and people. */
export interface RunRecord {
  readonly rounds: readonly RoundLine[]
  readonly best: RoundLine | null
  readonly bytes: { readonly up: number; readonly down: number }
  /** Whether the server has ended it, well or not. */
  readonly isOver: boolean
}

export class RunRecorder implements RunObserver {
  private readonly rounds: RoundLine[] = []
  private best: RoundLine | null = null
  private lastAdapter: NamedTensors | null = null
  /** Adapters are written one after the other. Nobody waits for the best one but the end of the run, which also waits for one cut short. */
  private writing: Promise<void> = Promise.resolve()
  private readonly bytes = { up: 0, down: 0 }
  private isOver = false

  constructor(private readonly options: RecorderOptions) {}

  get record(): RunRecord {
    return { rounds: this.rounds, best: this.best, bytes: this.bytes, isOver: this.isOver }
  }

  event: RunObserver['event'] = (event) => {
    if (event.event === 'end') this.isOver = true
    this.options.directory.appendEvent(event)
  }

  step: RunObserver['step'] = (line) => this.options.directory.appendStep(line)

  traffic: RunObserver['traffic'] = (lines) => {
    for (const line of lines) {
      this.options.directory.appendTraffic(line)
      this.bytes[line.direction] += line.wire_bytes
    }
  }

  activity(): void {}

  async adapter(round: number, adapter: NamedTensors): Promise<void> {
    this.lastAdapter = adapter
    await this.enqueue(() => this.write(this.options.directory.adapterDir, round, adapter))
  }

  round(line: RoundLine): void {
    this.rounds.push(line)
    this.options.directory.appendRound(line)
    if (line.round === 0 || line.eval_loss === null || !this.lastAdapter) return
    if (line.eval_loss >= (this.best?.eval_loss ?? Infinity)) return
    this.best = line
    const adapter = this.lastAdapter
    if (this.options.config.output.save_best)
      void this.enqueue(() => this.write(this.options.directory.bestAdapterDir, line.round, adapter, line.eval_loss))
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
      started: started.toISOString(),
      ended: ended.toISOString(),
      seconds: (ended.getTime() - started.getTime()) / 1000,
      rounds: trained.length,
      before: score(this.rounds.find(({ round }) => round === 0)),
      last: score(trained.at(-1)),
      best: score(this.best),
      uplink_bytes: this.bytes.up,
      downlink_bytes: this.bytes.down,
      error: error && error.report(),
    })
  }

  private write(folder: string, round: number, tensors: NamedTensors, evalLoss: number | null = null): Promise<void> {
    const { config, lora, model } = this.options
    const { federation, train } = config
    return writePeftAdapter(folder, {
      lora,
      baseModel: model.name,
      revision: model.revision,
      init: config.lora.init_lora_weights,
      layers: null,
      tensors,
      card: {
        title: `LoRA adapter for ${model.name}`,
        paragraphs: [howTrained(config), 'Dropout of the frozen base model was not applied.'],
        facts: [
          ['Base model digest', model.digest],
          ['Rounds', round],
          ['Clients', federation.num_clients],
          ['Top', federation.top],
          ['Strategy', federation.strategy],
          ['Learning rate', train.learning_rate],
          ['Seed', train.seed],
          ['Adapter parameters', adapterParameters(tensors)],
          ...(evalLoss === null ? [] : ([['Held-out loss, nats per token', evalLoss.toFixed(4)]] as const)),
        ],
      },
    })
  }
}

function howTrained({ split, federation }: Config): string {
  switch (split.topology) {
    case 'split':
      return `Trained by federated split fine-tuning: ${federation.num_clients} clients held the first ${split.cut_layer} blocks and their own rows, an edge server the rest. Both halves are stitched into this one adapter.`
    case 'federated':
      return `Trained by federated fine-tuning: ${federation.num_clients} clients held the whole model and their own rows, and a server averaged their adapters.`
    case 'centralized':
      return 'Trained on one client that held all rows and the whole model.'
    default:
      return unreachable(`topology ${String(split.topology)}`)
  }
}
