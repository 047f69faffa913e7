/**
 * @file What `inspect` tells of the tensors at the cut: by client, direction and round, with the codecs and what `auto` chose them by. Pure.
 */
import { compareCodeUnits } from '../../shared/compare.js'
import { byteSize } from '../../shared/command-line/index.node.js'
import { cutBytes, ratioText, type CutBytes } from '../../shared/protocol/cut-bytes.js'
import type { CodecUse, RoundLine, TrafficLine } from '../../shared/run-records.js'
import { table, type Column } from './table.js'

/** One client's activations, or gradients, over the rounds that are shown. */
export interface ClientCutReport extends CutBytes {
  readonly client: string
  readonly kind: 'activations' | 'gradients'
  readonly rounds: readonly CutRound[]
}

/** The same in one round. */
export interface CutRound extends CutBytes {
  readonly round: number
  /** null: an older version wrote the round, or it is not over. */
  readonly codec: string | null
  /** Where the client's link chose it. */
  readonly auto: NonNullable<CodecUse['auto']> | null
}

const KINDS = ['activations', 'gradients'] as const

/** @param traffic and @param rounds those that are shown */
export function clientCuts(traffic: readonly TrafficLine[], rounds: readonly RoundLine[]): ClientCutReport[] {
  const uses = new Map(rounds.flatMap(({ round, clients }) => clients.map(({ id, codecs }) => [`${round} ${id}`, codecs] as const)))
  const places = new Map<string, { client: string; kind: (typeof KINDS)[number]; lines: TrafficLine[] }>()
  for (const line of traffic) {
    const kind = KINDS.find((each) => each === line.kind)
    if (kind === undefined) continue
    const key = `${line.client} ${kind}`
    const place = places.get(key) ?? { client: line.client, kind, lines: [] }
    place.lines.push(line)
    places.set(key, place)
  }
  const inOrder = [...places.values()].sort((a, b) => compareCodeUnits(a.client, b.client) || compareCodeUnits(a.kind, b.kind))
  return inOrder.map(({ client, kind, lines }) => ({
    client,
    kind,
    ...cutBytes(lines),
    rounds: [...byRound(lines)].map(([round, own]) => {
      const use = uses.get(`${round} ${client}`)?.[kind]
      return { round, ...cutBytes(own), codec: use?.codec ?? null, auto: use?.auto ?? null }
    }),
  }))
}

function byRound(lines: readonly TrafficLine[]): Map<number, TrafficLine[]> {
  const rounds = new Map<number, TrafficLine[]>()
  for (const line of lines) rounds.set(line.round, [...(rounds.get(line.round) ?? []), line])
  return rounds
}

/** By client; of a single client by round, and of a single round with the reasons for what was chosen. */
export function cutText(cuts: readonly ClientCutReport[], isOneClient: boolean, bold: (text: string) => string): string {
  const rows = isOneClient
    ? cuts
        .flatMap(({ kind, rounds }) => rounds.map((round) => ({ ...round, what: kind, codecs: round.codec ?? '-' })))
        .sort((a, b) => a.round - b.round)
    : cuts.map((cut) => ({ ...cut, what: cut.kind, codecs: codecsOf(cut), auto: cut.rounds.length === 1 ? cut.rounds[0].auto : null }))
  const first: Column<(typeof rows)[number]> = {
    title: isOneClient ? 'round' : 'client',
    cell: (row) => String('client' in row ? row.client : row.round),
    align: isOneClient ? 'right' : 'left',
  }
  const isChosen = rows.some(({ auto }) => auto !== null)
  return `at the cut\n${table([first, ...COLUMNS, ...(isChosen ? [REASON] : [])], rows, bold)}`
}

interface Row extends CutBytes {
  readonly what: string
  readonly codecs: string
  readonly auto: CutRound['auto']
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'tensors', cell: ({ what }) => what },
  { title: 'codec', cell: ({ codecs }) => codecs },
  { title: 'payload', cell: ({ payload_bytes }) => byteSize(payload_bytes), align: 'right' },
  { title: 'on the wire', cell: ({ wire_bytes }) => byteSize(wire_bytes), align: 'right' },
  { title: 'as fp32', cell: ({ fp32_bytes }) => byteSize(fp32_bytes), align: 'right' },
  { title: 'payload of fp32', cell: ({ fp32_ratio }) => ratioText(fp32_ratio), align: 'right' },
]

const REASON: Column<Row> = { title: 'auto', cell: ({ auto }) => (auto === null ? '' : choiceText(auto)) }

/** `fp16, then int8`: in the order of rounds. */
function codecsOf({ rounds }: ClientCutReport): string {
  const names = rounds.map(({ codec }) => codec ?? '-')
  return names.filter((name, index) => name !== names[index - 1]).join(', then ')
}

function choiceText({ reason, measured_round, bytes_per_s, step_s, transfer_s }: NonNullable<CodecUse['auto']>): string {
  if (measured_round === null) return reason
  const rate = bytes_per_s === null ? 'too fast to tell' : `${byteSize(bytes_per_s)}/s`
  const taken = transfer_s === null ? '' : `, ${transfer_s.toFixed(3)} s beside steps of ${step_s?.toFixed(3) ?? '-'} s`
  return `${reason} (round ${measured_round}: ${rate}${taken})`
}
