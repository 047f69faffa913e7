/**
 * @file `cutlayer bench clients`: memory and time of runs with many simulated clients, of which few are selected in each round.
 */
import { z } from 'zod'
import { defineCommand, integerFlag } from '../../shared/command-line/index.node.js'
import { table, type Column } from '../inspect/table.js'
import { median, rounded } from './figures.js'
import { inBenchFolder } from './measured-run.js'
import { writeRandomRows } from './random-rows.js'

const ROWS_PER_CLIENT = 4
const MEGABYTE = 1e6

export interface ClientsShape {
  readonly clients: readonly number[]
  readonly selected: readonly number[]
  readonly localSteps: number
  readonly batch: number
  readonly seq: number
  /** At least 2: the first is slower, since programs are compiled in it. */
  readonly rounds: number
}

/** One run. */
export interface ClientsFigure {
  readonly clients: number
  readonly selected: number
  /** From the start of the process until all clients are ready. */
  readonly startSeconds: number
  readonly firstSeconds: number
  /** Median of the other rounds. */
  readonly roundSeconds: number
  readonly secondsPerSelected: number
  /** Largest private memory of the process, JavaScript heap and engine together; null where the system does not tell. */
  readonly peakBytes: number | null
}

export interface ClientsFigures {
  readonly runs: readonly ClientsFigure[]
  /** What one more client takes: the growth of the peak from the fewest clients to the most, with the same number selected. */
  readonly bytesPerClient: number | null
}

const counts = (most: number) => {
  const expected = `whole numbers from 1 to ${most} with commas between them`
  return z
    .string(expected)
    .regex(/^\d{1,6}(,\d{1,6})*$/, expected)
    .transform((text) => [...new Set(text.split(',').map(Number))].sort((a, b) => a - b))
    .refine((values) => values.every((value) => value >= 1 && value <= most), expected)
}

export const benchClientsCommand = defineCommand({
  usage: 'bench clients',
  summary: 'memory of simulated clients, and time of a round by how many of them are selected',
  example: 'cutlayer bench clients --clients 10,1000 --selected 4,8 --format json',
  flags: {
    '--clients <counts>': 'simulated clients, a run for each [10,100,1000]',
    '--selected <counts>': 'clients that train in a round, a run for each [4,8,16]',
    '--local-steps <count>': 'local steps of a round [4]',
    '--batch <rows>': 'rows in a batch [4]',
    '--seq <tokens>': 'tokens in a row [64]',
    '--rounds <count>': 'rounds of each run; the median is of all but the first [4]',
  },
  options: z.object({
    clients: counts(100_000).default([10, 100, 1000]),
    selected: counts(100_000).default([4, 8, 16]),
    localSteps: integerFlag(1, 100_000).default(4),
    batch: integerFlag(1, 1024).default(4),
    seq: integerFlag(2, 256).default(64),
    rounds: integerFlag(2, 1000).default(4),
  }),
  async run(context, _, shape) {
    const bar = context.progress('runs', pairs(shape).length)
    bar.update(0)
    const { runs, bytesPerClient } = await measureClients(shape, (done) => bar.update(done))
    bar.finish()
    const data = {
      ...{ local_steps: shape.localSteps, batch: shape.batch, seq: shape.seq },
      mb_per_client: bytesPerClient === null ? null : rounded(bytesPerClient / MEGABYTE, 3),
      runs: runs.map((run) => ({
        clients: run.clients,
        selected: run.selected,
        start_s: rounded(run.startSeconds, 2),
        first_s: rounded(run.firstSeconds, 3),
        median_s: rounded(run.roundSeconds, 3),
        s_per_selected: rounded(run.secondsPerSelected, 4),
        peak_mb: run.peakBytes === null ? null : rounded(run.peakBytes / MEGABYTE, 1),
      })),
    }
    const each = data.mb_per_client === null ? 'not known on this system' : `${data.mb_per_client} MB`
    const text = [table(COLUMNS, runs, (title) => context.paint('bold', title)), '', `memory of one more client: ${each}`].join('\n')
    return { data, text }
  },
})

const COLUMNS: readonly Column<ClientsFigure>[] = [
  { title: 'clients', cell: ({ clients }) => String(clients), align: 'right' },
  { title: 'selected', cell: ({ selected }) => String(selected), align: 'right' },
  { title: 'start', cell: ({ startSeconds }) => `${startSeconds.toFixed(1)} s`, align: 'right' },
  { title: 'a round', cell: ({ roundSeconds }) => `${roundSeconds.toFixed(2)} s`, align: 'right' },
  { title: 'for each selected', cell: ({ secondsPerSelected }) => `${(1000 * secondsPerSelected).toFixed(0)} ms`, align: 'right' },
  {
    title: 'peak memory',
    cell: ({ peakBytes }) => (peakBytes === null ? '-' : `${(peakBytes / MEGABYTE).toFixed(0)} MB`),
    align: 'right',
  },
]

/** A run for each pair of counts in which no more are selected than there are, on the shipped model over memory links, without evaluation. */
export function measureClients(shape: ClientsShape, onRun?: (done: number) => void): Promise<ClientsFigures> {
  const { localSteps, batch, seq, rounds } = shape
  return inBenchFolder(async (folder) => {
    const runs: ClientsFigure[] = []
    let rows = 0
    for (const { clients, selected } of pairs(shape)) {
      if (clients !== rows) await writeRandomRows(folder.path('rows.jsonl'), clients * ROWS_PER_CLIENT, seq)
      rows = clients
      const run = await folder.run({
        data: { path: 'rows.jsonl', partition: 'iid', max_length: seq, eval_fraction: 0 },
        train: { per_device_train_batch_size: batch },
        // A fraction of next to none: the least number that may train is what counts.
        federation: {
          ...{ num_rounds: rounds, num_clients: clients, local_steps: localSteps },
          ...{ fraction_train: 1e-9, min_train_clients: selected, fraction_evaluate: 0 },
        },
        transport: { kind: 'memory' },
      })
      const [first, ...others] = run.rounds.map(({ seconds }) => seconds)
      const roundSeconds = median(others)
      runs.push({
        ...{ clients, selected, startSeconds: run.startSeconds, firstSeconds: first!, roundSeconds },
        secondsPerSelected: roundSeconds / selected,
        peakBytes: run.peakPrivateBytes,
      })
      onRun?.(runs.length)
    }
    return { runs, bytesPerClient: growthPerClient(runs) }
  })
}

function pairs({ clients, selected }: Pick<ClientsShape, 'clients' | 'selected'>): { clients: number; selected: number }[] {
  return clients.flatMap((count) => selected.filter((some) => some <= count).map((some) => ({ clients: count, selected: some })))
}

/** Growth of the peak per client, from the fewest clients to the most; the mean over the numbers of selected ones that both have. */
export function growthPerClient(runs: readonly Pick<ClientsFigure, 'clients' | 'selected' | 'peakBytes'>[]): number | null {
  const all = runs.map(({ clients }) => clients)
  const [fewest, most] = [Math.min(...all), Math.max(...all)]
  const growths = runs.flatMap((run) => {
    const other = runs.find(({ clients, selected }) => clients === most && selected === run.selected)
    if (run.clients !== fewest || most === fewest || !other || run.peakBytes === null || other.peakBytes === null) return []
    return [(other.peakBytes - run.peakBytes) / (most - fewest)]
  })
  return growths.length === 0 ? null : growths.reduce((a, b) => a + b, 0) / growths.length
}
