/**
 * @file A plan as a person reads it.
 */
import { byteSize, duration } from '../../shared/command-line/index.node.js'
import { type Column, table } from '../inspect/table.js'
import type { NodeMemory } from './memory.js'
import type { Plan } from './plan.js'
import type { TimeEstimate } from './time.js'
import type { Traffic } from './wire.js'

export interface PlanData extends Omit<Plan, 'tokens'> {
  readonly tokens: Plan['tokens'] & { readonly reason: string | null }
  readonly time: TimeEstimate & {
    readonly bandwidth_bits_per_second: number
    readonly calibration: { readonly engine: string; readonly threads: number; readonly flops_per_second: number }
  }
}

export function planText(plan: PlanData, path: string, bold: (text: string) => string): string {
  const parts = [
    `${bold(`plan of ${path}`)}: nothing was downloaded or trained\n${facts(plan).join('\n')}\n`,
    `memory of a node, estimated\n${memoryTable(plan.memory, bold)}`,
    `traffic of a round, all clients together${plan.tokens.is_exact ? '' : ', estimated'}\n${table(TRAFFIC_COLUMNS, plan.round_traffic, bold)}`,
    `${wholeRun(plan)}\n`,
  ]
  return parts.join('\n')
}

function facts({ model, cut, clients, adapter, tokens, rounds }: PlanData): string[] {
  const each = clients === 1 ? 'the client' : `each of ${clients} clients`
  const where = cut === null ? `all of them on ${each}` : `${cut} on ${each}, ${model.layers - cut} on the server`
  const source =
    tokens.source === 'rows'
      ? `counted in the rows of ${tokens.clients_read} of ${clients} clients, ${tokens.rounds_counted} of ${rounds} rounds`
      : `at most: every row as long as data.max_length, because ${tokens.reason}`
  const count = (number: number): string => number.toLocaleString('en')
  return [
    `model     ${model.name} (${model.family}): ${count(model.parameters)} parameters, ${model.layers} blocks, ${where}`,
    `adapter   ${count(adapter.parameters)} parameters: ${count(adapter.client_parameters)} on each client, ${count(adapter.server_parameters)} on the server`,
    `tokens    ${count(Math.round(tokens.per_step))} in a local step of one client, ${source}`,
  ]
}

function memoryTable({ client, server }: PlanData['memory'], bold: (text: string) => string): string {
  const names = [...new Set([...client.terms, ...server.terms].map(({ name }) => name))]
  const of = (node: NodeMemory, name: string): string => {
    const term = node.terms.find((candidate) => candidate.name === name)
    return term === undefined ? '-' : byteSize(term.bytes)
  }
  const rows = [
    ...names.map((name) => ({ name: name.replaceAll('_', ' '), client: of(client, name), server: of(server, name) })),
    { name: 'together', client: byteSize(client.total_bytes), server: byteSize(server.total_bytes) },
  ]
  const columns: readonly Column<(typeof rows)[number]>[] = [
    { title: '', cell: ({ name }) => name },
    { title: 'each client', cell: (row) => row.client, align: 'right' },
    { title: 'server', cell: (row) => row.server, align: 'right' },
  ]
  return table(columns, rows, bold)
}

function wholeRun({ total_traffic, rounds, time }: PlanData): string {
  const bytes = (direction: Traffic['direction']): string =>
    byteSize(Math.round(total_traffic.filter((line) => line.direction === direction).reduce((sum, { wire_bytes }) => sum + wire_bytes, 0)))
  const { calibration, bandwidth_bits_per_second } = time
  const rate = `${(calibration.flops_per_second / 1e9).toFixed(1)} GFLOP/s measured here (${calibration.engine}, threads: ${calibration.threads})`
  return [
    `run       ${rounds} rounds: up ${bytes('up')}, down ${bytes('down')}`,
    `a round   about ${duration(time.together_seconds)} with all processes on this machine, about ${duration(time.apart_seconds)} with each on one like it`,
    `          an estimate from ${rate} and ${bandwidth_bits_per_second / 1e6} Mbit/s to each client`,
  ].join('\n')
}

const TRAFFIC_COLUMNS: readonly Column<Traffic>[] = [
  { title: 'kind', cell: ({ kind }) => kind },
  { title: 'direction', cell: ({ direction }) => direction },
  { title: 'messages', cell: ({ messages }) => String(Math.round(messages)), align: 'right' },
  { title: 'payload', cell: ({ payload_bytes }) => byteSize(Math.round(payload_bytes)), align: 'right' },
  { title: 'on the wire', cell: ({ wire_bytes }) => byteSize(Math.round(wire_bytes)), align: 'right' },
]
