/**
 * @file What `inspect` and `list` tell of a run: pure functions of what was read.
 */
import { byteSize, duration } from '../../shared/command-line/index.node.js'
import type { RoundClient, RoundLine, RunGroup, StepLine, TrafficLine } from '../../shared/run-records.js'
import { cutBytes, ratioText } from '../../shared/protocol/cut-bytes.js'
import type { Run } from '../runs.js'
import { clientCuts, cutText, type ClientCutReport } from './cut.js'
import type { Glyphs } from './curve.js'
import { roundCurves, stepCurves } from './curves.js'
import { type Column, measured, table } from './table.js'

/** Which part of a run is asked for; undefined: all. */
export interface Selection {
  readonly round?: number | undefined
  readonly client?: string | undefined
}

export interface TrafficSum {
  readonly kind: TrafficLine['kind']
  readonly direction: TrafficLine['direction']
  readonly messages: number
  readonly payload_bytes: number
  readonly wire_bytes: number
  /** What the cut tensors in it are as fp32, and the payload as a share of that; 0 and null where there are none. */
  readonly fp32_bytes: number
  readonly fp32_ratio: number | null
}

/** What tells runs apart at a glance. */
export interface RunHead {
  readonly run_dir: string
  readonly id: string
  readonly name: string
  readonly status: string
  readonly created: string | null
  readonly model: string | null
  /** Of a run that is one of several seeds. */
  readonly group: RunGroup | null
}

export interface RunReport extends RunHead {
  readonly rounds: readonly RoundLine[]
  readonly traffic: readonly TrafficSum[]
  /** By client and direction. */
  readonly cut: readonly ClientCutReport[]
  /** Of the round that was asked for; null if none was. */
  readonly steps: readonly StepLine[] | null
  readonly warnings: readonly string[]
}

export function headOf(run: Run): RunHead {
  return {
    run_dir: run.folder,
    id: run.id,
    name: run.name,
    status: statusOf(run),
    created: run.metadata?.created ?? null,
    model: run.metadata?.model.name ?? null,
    group: run.metadata?.group ?? null,
  }
}

/**
 * The selected part of a run. A client's selection leaves only that client in each round.
 * @param steps of the whole run
 */
export function reportOf(run: Run, { round, client }: Selection, steps: readonly StepLine[] = []): RunReport {
  const isAsked = (line: { round: number }): boolean => round === undefined || line.round === round
  const rounds = run.rounds.filter(isAsked)
  const traffic = run.traffic.filter((line) => isAsked(line) && (client === undefined || line.client === client))
  return {
    ...headOf(run),
    rounds: client === undefined ? rounds : rounds.map((line) => ({ ...line, clients: line.clients.filter(({ id }) => id === client) })),
    traffic: sumByKind(traffic),
    cut: clientCuts(traffic, rounds),
    steps: round === undefined ? null : steps.filter((line) => isAsked(line) && (client === undefined || line.client === client)),
    warnings: run.warnings,
  }
}

/** `seed 2, one of 1, 2, 3 (seeds-0a1b2c)` */
function seedText({ id, seeds, index }: RunGroup): string {
  return `seed ${seeds[index]}, one of ${seeds.join(', ')} (${id})`
}

/** Only a run that came to its end has a summary. */
export function statusOf(run: Run): string {
  return run.summary?.status ?? 'unfinished'
}

function sumByKind(lines: readonly TrafficLine[]): TrafficSum[] {
  const sums = new Map<string, TrafficSum>()
  for (const line of lines) {
    const { kind, direction, messages } = line
    const key = `${kind} ${direction}`
    const sum = sums.get(key)
    sums.set(key, { kind, direction, messages: (sum?.messages ?? 0) + messages, ...cutBytes(sum ? [sum, line] : [line]) })
  }
  return [...sums.values()].sort((a, b) => b.wire_bytes - a.wire_bytes)
}

/** The report as text. Of several rounds, the clients of the last one are shown; of one client, all its rounds. */
export function reportText(report: RunReport, selection: Selection, glyphs: Glyphs, bold: (text: string) => string): string {
  const { rounds, traffic, cut, steps } = report
  const head = [`${bold(report.name)} (${report.id}), ${report.status}`, report.run_dir]
  if (report.created !== null) head.push(`started ${report.created}, model ${report.model}`)
  if (report.group !== null) head.push(`${seedText(report.group)}; all of them: npx cutlayer compare ${report.group.id}`)
  const parts = [head.map((line) => `${line}\n`).join('')]
  if (rounds.length === 0) parts.push('no round is over yet\n')
  // Its bytes would be the client's, and its losses everybody's.
  else if (selection.client === undefined) parts.push(table(ROUND_COLUMNS, rounds, bold))
  if (selection.client !== undefined) {
    const lines = rounds.flatMap((line) => line.clients.map((client) => ({ round: line.round, ...client })))
    parts.push(
      `client ${selection.client}, by round\n${table([{ title: 'round', cell: ({ round }) => String(round), align: 'right' }, ...CLIENT_COLUMNS], lines, bold)}`,
    )
  } else {
    const shown = rounds.at(-1)
    if (shown !== undefined && shown.clients.length > 0)
      parts.push(`clients in round ${shown.round}\n${table([ID_COLUMN, ...CLIENT_COLUMNS], shown.clients, bold)}`)
  }
  const curves = steps === null ? roundCurves(rounds, selection.client, glyphs, bold) : stepCurves(steps, glyphs, bold)
  if (curves !== '') parts.push(curves)
  if (traffic.length > 0)
    parts.push(`traffic${selection.round === undefined ? '' : ` of round ${selection.round}`}\n${table(TRAFFIC_COLUMNS, traffic, bold)}`)
  if (cut.length > 0) parts.push(cutText(cut, selection.client !== undefined, bold))
  parts.push(...report.warnings.map((warning) => `warning: ${warning}\n`))
  return parts.join('\n')
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

export const ROUND_COLUMNS: readonly Column<RoundLine>[] = [
  { title: 'round', cell: ({ round, attempt }) => (attempt === 0 ? String(round) : `${round} (attempt ${attempt})`), align: 'right' },
  { title: 'train loss', cell: ({ train_loss }) => measured(train_loss, 4), align: 'right' },
  { title: 'eval loss', cell: ({ eval_loss }) => measured(eval_loss, 4), align: 'right' },
  { title: 'perplexity', cell: ({ eval_perplexity }) => measured(eval_perplexity, 2), align: 'right' },
  { title: 'time', cell: ({ seconds }) => duration(seconds), align: 'right' },
  { title: 'up', cell: ({ clients }) => byteSize(sum(clients.map(({ uplink_bytes }) => uplink_bytes))), align: 'right' },
  { title: 'down', cell: ({ clients }) => byteSize(sum(clients.map(({ downlink_bytes }) => downlink_bytes))), align: 'right' },
  { title: 'replies', cell: ({ aggregation }) => (aggregation === null ? '-' : String(aggregation.replies)), align: 'right' },
  { title: 'missing', cell: ({ aggregation }) => aggregation?.missing.join(', ') ?? '' },
  { title: '', cell: ({ reason }) => reason ?? '' },
]

const ID_COLUMN: Column<RoundClient> = { title: 'client', cell: ({ id }) => id }

const CLIENT_COLUMNS: readonly Column<RoundClient>[] = [
  { title: 'examples', cell: ({ examples }) => String(examples), align: 'right' },
  { title: 'tokens', cell: ({ tokens }) => String(tokens), align: 'right' },
  { title: 'steps', cell: ({ steps }) => String(steps), align: 'right' },
  { title: 'train loss', cell: ({ train_loss }) => measured(train_loss, 4), align: 'right' },
  { title: 'eval loss', cell: ({ eval_loss }) => measured(eval_loss, 4), align: 'right' },
  { title: 'compute s', cell: ({ seconds }) => seconds.compute.toFixed(1), align: 'right' },
  { title: 'wait s', cell: ({ seconds }) => seconds.wait.toFixed(1), align: 'right' },
  { title: 'network s', cell: ({ seconds }) => seconds.network.toFixed(1), align: 'right' },
  { title: 'up', cell: ({ uplink_bytes }) => byteSize(uplink_bytes), align: 'right' },
  { title: 'down', cell: ({ downlink_bytes }) => byteSize(downlink_bytes), align: 'right' },
]

const TRAFFIC_COLUMNS: readonly Column<TrafficSum>[] = [
  { title: 'kind', cell: ({ kind }) => kind },
  { title: 'direction', cell: ({ direction }) => direction },
  { title: 'messages', cell: ({ messages }) => String(messages), align: 'right' },
  { title: 'payload', cell: ({ payload_bytes }) => byteSize(payload_bytes), align: 'right' },
  { title: 'on the wire', cell: ({ wire_bytes }) => byteSize(wire_bytes), align: 'right' },
  { title: 'payload of fp32', cell: ({ fp32_ratio }) => ratioText(fp32_ratio), align: 'right' },
]
