/**
 * @file The curves under a run's tables: losses and bytes by round, of all clients or of one, and losses by step within a round.
 */
import { byteSize } from '../../shared/command-line/index.node.js'
import type { RoundLine, StepLine } from '../../shared/run-records.js'
import { curve, type Glyphs } from './curve.js'
import { type Column, measured, table } from './table.js'

interface Series {
  readonly name: string
  /** In order; null where nothing was measured. */
  readonly values: readonly (number | null)[]
  readonly say: (value: number) => string
}

const asLoss = (value: number): string => measured(value, 4)
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

/**
 * Losses and bytes by round, of `client` or of all; '' where nothing was measured twice.
 * Rounds that a client had no part in are gaps.
 */
export function roundCurves(
  rounds: readonly RoundLine[],
  client: string | undefined,
  glyphs: Glyphs,
  bold: (text: string) => string,
): string {
  const lines = rounds.map((line) => {
    const clients = client === undefined ? line.clients : line.clients.filter(({ id }) => id === client)
    // All clients' losses stand in the round's line: they are weighted by tokens.
    const losses = client === undefined ? line : clients[0]
    const bytes = clients.length === 0 ? null : sum(clients.map(({ uplink_bytes, downlink_bytes }) => uplink_bytes + downlink_bytes))
    return { train: losses?.train_loss ?? null, evaluation: losses?.eval_loss ?? null, bytes }
  })
  const title = `${client === undefined ? '' : `client ${client}, `}rounds ${rounds[0]?.round} to ${rounds.at(-1)?.round}`
  return curveTable(
    title,
    [
      { name: 'train loss', values: lines.map(({ train }) => train), say: asLoss },
      { name: 'eval loss', values: lines.map(({ evaluation }) => evaluation), say: asLoss },
      { name: 'bytes', values: lines.map(({ bytes }) => bytes), say: byteSize },
    ],
    glyphs,
    bold,
  )
}

/** Losses by step of one round, a curve for each client; '' if nobody's was measured twice. A step that a client was dropped in is a gap. */
export function stepCurves(steps: readonly StepLine[], glyphs: Glyphs, bold: (text: string) => string): string {
  const ofClients = steps.filter((line): line is StepLine & { client: string } => line.client !== null)
  const numbers = [...new Set(ofClients.map(({ step }) => step))].sort((a, b) => a - b)
  const clients = [...new Set(ofClients.map(({ client }) => client))].sort()
  const series = clients.map((client) => {
    const losses = new Map(ofClients.filter((line) => line.client === client).map(({ step, loss }) => [step, loss]))
    return { name: client, values: numbers.map((step) => losses.get(step) ?? null), say: asLoss }
  })
  return curveTable(`loss, steps ${numbers[0]} to ${numbers.at(-1)}`, series, glyphs, bold)
}

function curveTable(title: string, series: readonly Series[], glyphs: Glyphs, bold: (text: string) => string): string {
  // One point is no curve.
  const drawn = series.filter(({ values }) => values.filter((value) => value !== null).length > 1)
  if (drawn.length === 0) return ''
  const said = (pick: (values: readonly number[]) => number) => ({
    cell: ({ values, say }: Series) => say(pick(values.filter((value) => value !== null))),
    align: 'right' as const,
  })
  const columns: readonly Column<Series>[] = [
    { title: '', cell: ({ name }) => name },
    { title, cell: ({ values }) => curve(values, glyphs) },
    { title: 'first', ...said((values) => values[0]!) },
    { title: 'last', ...said((values) => values.at(-1)!) },
    { title: 'lowest', ...said((values) => values.reduce((a, b) => Math.min(a, b))) },
    { title: 'highest', ...said((values) => values.reduce((a, b) => Math.max(a, b))) },
  ]
  return table(columns, drawn, bold)
}
