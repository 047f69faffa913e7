/**
 * @file What was measured beside what was planned: figures for scripts, and a table for people. Pure.
 */
import type { Config } from '../../../shared/config/schema.js'
import type { TrafficLine } from '../../../shared/run-records.js'
import { table, type Column } from '../../inspect/table.js'
import type { Plan } from '../../plan/plan.js'
import type { Measured } from './measure.js'

/** A million bytes, as in `bench step`. */
const MEGABYTE = 1e6

interface ProcessLine {
  readonly name: string
  /** Peak of Private_Clean + Private_Dirty. */
  readonly private_mb: number
  /** Peak of Private_Dirty alone. */
  readonly dirty_mb: number
  /** Weight files that are resident through its mappings: shared with others on the machine, and dropped when memory is short. */
  readonly mapped_mb: number
  /** Peak of the resident set, shared pages included, as the kernel keeps it. */
  readonly resident_mb: number
  /** What `plan` says that dirty_mb is; null: it plans no such process. What is clean depends on who else has the same files mapped. */
  readonly planned_mb: number | null
  /** planned_mb / dirty_mb - 1. */
  readonly deviation: number | null
  /** private_mb in that of the whole model in one process. */
  readonly of_whole: number
}

interface BytesLine {
  readonly direction: 'up' | 'down'
  readonly measured_bytes: number
  readonly planned_bytes: number
  readonly deviation: number
}

export interface MemoryReport {
  readonly shape?: string
  readonly model?: string
  readonly config?: string
  readonly topology: string
  readonly cut: number | null
  readonly clients: number
  readonly batch: number
  readonly seq: number
  readonly precision: string
  readonly threads: number
  readonly processes: readonly ProcessLine[]
  /** What the second client process on a machine costs: its private memory less the activations that the plan says it works on; null: there is one. */
  readonly second_client: { readonly private_mb: number; readonly activations_mb: number; readonly beyond_mb: number } | null
  readonly traffic: readonly BytesLine[]
}

export interface ReportInput {
  readonly name: { readonly shape?: string; readonly model?: string; readonly config?: string }
  readonly config: Config
  readonly plan: Plan
  readonly measured: readonly Measured[]
  readonly traffic: readonly TrafficLine[]
  readonly threads: number
}

export function memoryReport({ name, config, plan, measured, traffic, threads }: ReportInput): MemoryReport {
  const whole = measured.find((process) => process.name === 'whole model')!.peak.privateBytes
  const planned = (process: string): number | null =>
    process === 'server' ? plan.memory.server.private_bytes : process === 'whole model' ? null : plan.memory.client.private_bytes
  const processes = measured.map(({ name: process, peak }): ProcessLine => {
    const expected = planned(process)
    return {
      name: process,
      private_mb: megabytes(peak.privateBytes),
      dirty_mb: megabytes(peak.dirtyBytes),
      mapped_mb: megabytes(peak.mappedBytes),
      resident_mb: megabytes(peak.peakResidentBytes),
      planned_mb: expected === null ? null : megabytes(expected),
      deviation: expected === null ? null : share(expected / peak.dirtyBytes - 1),
      of_whole: share(peak.privateBytes / whole),
    }
  })
  const second = measured.find((process) => process.name === 'client-1')
  const activations = plan.memory.client.terms
    .filter((term) => term.name === 'kept_activations' || term.name === 'working')
    .reduce((sum, { bytes }) => sum + bytes, 0)
  return {
    ...name,
    topology: config.split.topology,
    cut: plan.cut,
    clients: plan.clients,
    batch: config.train.per_device_train_batch_size,
    seq: config.data.max_length,
    precision: config.model.precision,
    threads,
    processes,
    second_client: second
      ? {
          private_mb: megabytes(second.peak.privateBytes),
          activations_mb: megabytes(activations),
          beyond_mb: megabytes(second.peak.privateBytes - activations),
        }
      : null,
    traffic: (['up', 'down'] as const).map((direction) => bytesLine(direction, traffic, plan)),
  }
}

function bytesLine(direction: 'up' | 'down', lines: readonly TrafficLine[], plan: Plan): BytesLine {
  const sum = (all: Iterable<Pick<TrafficLine, 'direction' | 'wire_bytes'>>): number =>
    [...all].reduce((total, line) => total + (line.direction === direction ? line.wire_bytes : 0), 0)
  const [measured, planned] = [sum(lines), Math.round(sum(plan.total_traffic))]
  return { direction, measured_bytes: measured, planned_bytes: planned, deviation: share(planned / measured - 1) }
}

export function memoryText(report: MemoryReport, bold: (text: string) => string): string {
  const { shape, model, config, cut, clients, batch, seq, precision, second_client: second, traffic } = report
  const where = cut === null ? `topology ${report.topology}` : `cut ${cut}`
  const bytes = traffic
    .map((line) => `${line.direction} ${line.measured_bytes} bytes, planned ${line.planned_bytes} (${signedPercent(line.deviation)})`)
    .join('; ')
  return [
    `${bold(config ?? shape ?? model ?? '')}: ${where}, ${clients} clients, ${batch} rows of ${seq} tokens, ${precision}`,
    '',
    table(COLUMNS, report.processes, bold),
    'private: peak of Private_Clean + Private_Dirty; it has weight files that nobody else, and no second program, has mapped. dirty: without them;',
    'this is what is planned. weights: of their files, what is resident, shared or not; resident: all, with what is shared. MB are 10^6 bytes.',
    ...(second
      ? [`a second client takes ${second.beyond_mb} MB beyond its activations, which the plan says are ${second.activations_mb} MB`]
      : []),
    `traffic of the run: ${bytes}`,
    '',
  ].join('\n')
}

const COLUMNS: readonly Column<ProcessLine>[] = [
  { title: 'process', cell: ({ name }) => name },
  { title: 'private MB', cell: (line) => line.private_mb.toFixed(1), align: 'right' },
  { title: 'of whole', cell: (line) => line.of_whole.toFixed(3), align: 'right' },
  { title: 'dirty MB', cell: (line) => line.dirty_mb.toFixed(1), align: 'right' },
  { title: 'planned MB', cell: (line) => line.planned_mb?.toFixed(1) ?? '-', align: 'right' },
  { title: 'deviation', cell: (line) => (line.deviation === null ? '-' : signedPercent(line.deviation)), align: 'right' },
  { title: 'weights MB', cell: (line) => line.mapped_mb.toFixed(1), align: 'right' },
  { title: 'resident MB', cell: (line) => line.resident_mb.toFixed(1), align: 'right' },
]

function signedPercent(value: number): string {
  return `${value < 0 ? '' : '+'}${(100 * value).toFixed(1)}%`
}

function megabytes(bytes: number): number {
  return Math.round(bytes / (MEGABYTE / 10)) / 10
}

function share(value: number): number {
  return Math.round(value * 1000) / 1000
}
