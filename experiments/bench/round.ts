/**
 * @file `cutlayer bench round`: federated split rounds as a user runs them, server and all, timed.
 */
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { PRECISIONS, type Precision } from '../../shared/backend/weights.js'
import { byteSize, defineCommand, integerFlag, wordFlag } from '../../shared/command-line/index.node.js'
import { traceText } from '../run.js'
import { inBenchFolder, type MeasuredRound } from './measured-run.js'
import { median, rounded } from './figures.js'
import { writeRandomModel } from './random-model.js'
import { writeRandomRows } from './random-rows.js'
import { ALL_SHAPES, SHAPE_NAMES } from './shapes.js'

/** What a round is measured on. */
export interface RoundShape {
  /** As config.json has it. */
  readonly model: Readonly<Record<string, unknown>>
  readonly topology: 'split' | 'federated'
  readonly transport: 'socket' | 'memory'
  readonly cut: number
  readonly clients: number
  readonly localSteps: number
  /** Rows of a batch, and tokens of each of them. */
  readonly batch: number
  readonly seq: number
  readonly rank: number
  readonly precision: Precision
  /** At least 2: the first is slower, since programs are compiled in it. */
  readonly rounds: number
}

export interface RoundTimes {
  readonly rounds: readonly MeasuredRound[]
  /** From the start of the first process until training began. */
  readonly startSeconds: number
  /** null without a trace. */
  readonly engineBusyShare: number | null
}

export const benchRoundCommand = defineCommand({
  usage: 'bench round',
  summary: 'time federated rounds as `run` makes them: server and clients, over real sockets',
  example: 'cutlayer bench round --clients 4 --local-steps 10 --format json',
  flags: {
    '--shape <name>': 'size of the model, whose weights are random: small (6 blocks of 256), gpt2, gpt2-medium or smollm2-135m [small]',
    '--topology <name>': 'split, or federated: the whole model on each client [split]',
    '--transport <kind>': 'socket (a process for each client) or memory (all in one) [socket]',
    '--cut <blocks>': 'blocks on each client [2]',
    '--clients <count>': 'clients, all of which take part in each round [4]',
    '--local-steps <count>': 'local steps of a round [10]',
    '--batch <rows>': 'rows in a batch [4]',
    '--seq <tokens>': 'tokens in a row [256]',
    '--rank <r>': "rank of the adapter, on the family's default targets [8]",
    '--precision <name>': 'of the frozen weights: fp32 or q8 [fp32]',
    '--rounds <count>': 'rounds; the median is of all but the first [4]',
    '--trace <file>': 'write a Chrome trace of the run, and tell how busy the engine was',
  },
  options: z.object({
    shape: wordFlag(SHAPE_NAMES).default('small'),
    topology: wordFlag(['split', 'federated']).default('split'),
    transport: wordFlag(['socket', 'memory']).default('socket'),
    cut: integerFlag(0, 1000).default(2),
    clients: integerFlag(1, 1000).default(4),
    localSteps: integerFlag(1, 100_000).default(10),
    batch: integerFlag(1, 1024).default(4),
    seq: integerFlag(2, 1024).default(256),
    rank: integerFlag(1, 1024).default(8),
    precision: wordFlag(PRECISIONS).default('fp32'),
    rounds: integerFlag(2, 1000).default(4),
    trace: z.string().min(1, 'a file').optional(),
  }),
  async run(context, _, { shape, trace, ...options }) {
    const bar = context.progress('rounds', options.rounds)
    bar.update(0, 'starting')
    const measured = await measureRounds({ ...options, model: ALL_SHAPES[shape] }, (done) => bar.update(done), trace)
    const { rounds, startSeconds, engineBusyShare } = measured
    bar.finish()
    const { clients, localSteps, batch, seq } = options
    const times = rounds.map(({ seconds }) => seconds)
    const middle = median(times.slice(1))
    const last = rounds.at(-1)!
    const steps = clients * localSteps
    const { localSteps: local_steps, ...rest } = options
    const data = {
      shape,
      ...rest,
      local_steps,
      cores: availableParallelism(),
      first_s: rounded(times[0]!, 3),
      median_s: rounded(middle, 3),
      seconds: times.map((seconds) => rounded(seconds, 3)),
      steps_per_s: rounded(steps / middle, 1),
      tokens_per_s: rounded((steps * batch * seq) / middle, 0),
      uplink_bytes: last.uplink_bytes,
      downlink_bytes: last.downlink_bytes,
      start_s: rounded(startSeconds, 2),
      ...(trace === undefined ? {} : { trace: { file: trace, engine_busy_share: engineBusyShare } }),
    }
    const text = [
      `${shape}, ${options.topology} over ${options.transport}: ${clients} clients, ${localSteps} local steps of ${batch} rows of ${seq} tokens`,
      `a round   ${data.median_s} s (median of ${times.length - 1}; the first ${data.first_s} s), ${data.steps_per_s} steps/s, ${data.tokens_per_s} tokens/s`,
      `traffic   up ${byteSize(last.uplink_bytes)}, down ${byteSize(last.downlink_bytes)} a round`,
      ...(trace === undefined ? [] : [traceText({ file: trace, engine_busy_share: engineBusyShare })]),
    ].join('\n')
    return { data, text }
  },
})

/**
 * Runs as many rounds on random weights and rows, without evaluation.
 * @param onRound is told how many are done.
 * @param trace where to write a trace.
 * @throws UserError what the run failed of, as CUT_OUT_OF_RANGE.
 */
export function measureRounds(shape: RoundShape, onRound?: (done: number) => void, trace?: string): Promise<RoundTimes> {
  const { model, topology, transport, cut, clients, localSteps, batch, seq, rank, precision, rounds } = shape
  return inBenchFolder(async (folder) => {
    await writeRandomModel(folder.path('model'), model)
    // Enough for batches of different rows; more would only take longer to tokenise.
    await writeRandomRows(folder.path('rows.jsonl'), clients * batch * Math.min(localSteps, 16), seq)
    return folder.run(
      {
        model: { model_name_or_path: 'model', precision },
        split: { topology, cut_layer: cut },
        lora: { r: rank, lora_alpha: 2 * rank },
        data: { path: 'rows.jsonl', partition: 'iid', max_length: seq, eval_fraction: 0 },
        train: { per_device_train_batch_size: batch },
        federation: { num_rounds: rounds, num_clients: clients, local_steps: localSteps, fraction_evaluate: 0 },
        transport: { kind: transport },
      },
      onRound,
      trace === undefined ? undefined : resolve(trace),
    )
  })
}
