/**
 * @file Faults between real processes: of ten clients three fail in every round of a run of twenty. They are killed, stopped or cut off for longer than the
 * server waits, while others' connections are slow, late, or break in the middle of a message. The run ends, its lines say who is missing and why, and each
 * round's adapter is the mean of what those sent who replied.
 */
import { writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readPeftWeights } from '../../shared/model/peft.node.js'
import { derive, type Random } from '../../shared/random.js'
import type { F32Tensor } from '../../shared/tensor.js'
import type { RoundLine } from '../../shared/run-records.js'
import { startedPrograms, type Program } from '../testing/program.js'
import { tcpProxy, type TcpProxy } from '../testing/tcp-proxy.js'
import { openWorkshop, textRows, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
const programs = startedPrograms()
const proxies: TcpProxy[] = []
beforeEach(async () => {
  workshop = await openWorkshop()
})
afterEach(async () => {
  await programs.end(workshop.folder)
  for (const proxy of proxies.splice(0)) await proxy.close()
  await workshop.remove()
})

const CLIENTS = 10
const ROUNDS = 20

/**
 * Averages as the built-in strategy does, and writes down what every round began with and what it got, to the last bit. As a round begins it stops one of its
 * clients, without which no step ends until it is given up: whoever else fails by then fails in the round.
 */
const NOTING_STRATEGY = `
import { appendFileSync, readFileSync } from 'node:fs'
const numbers = (tensors) => Object.fromEntries([...tensors].map(([name, { data }]) => [name, Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')]))
export default {
  create: () => ({
    selectTrain(ready, random, round) {
      const stopped = ready[random.below(ready.length)]
      process.kill(JSON.parse(readFileSync('processes.json', 'utf8'))[stopped], 'SIGSTOP')
      appendFileSync('selected.jsonl', JSON.stringify({ round, clients: ready, stopped }) + '\\n')
      return ready
    },
    aggregate(replies, { round, adapter, average }) {
      const noted = replies.map(({ client, examples, adapter: sent }) => ({ client, examples, sent: numbers(sent) }))
      appendFileSync('noted.jsonl', JSON.stringify({ round, began: numbers(adapter), replies: noted }) + '\\n')
      return { adapter: average() }
    },
  }),
}
`

interface Selected {
  readonly round: number
  readonly clients: readonly string[]
  readonly stopped: string
}

interface Noted {
  readonly round: number
  readonly began: Readonly<Record<string, string>>
  readonly replies: readonly { readonly client: string; readonly examples: number; readonly sent: Readonly<Record<string, string>> }[]
}

/** A client's process, and its way to the server. */
class UnluckyClient {
  private static readonly processes = new Map<string, number>()

  program: Program
  constructor(
    readonly id: string,
    private readonly index: number,
    readonly proxy: TcpProxy,
  ) {
    this.program = this.start()
  }

  /** Ends it without a word, and starts it again. */
  async kill(): Promise<void> {
    this.program.child.kill('SIGKILL')
    await this.program.ended
    this.program = this.start()
  }

  private start(): Program {
    const url = `http://127.0.0.1:${this.proxy.port}`
    const part = `${this.index}/${CLIENTS}`
    const args = ['client', '--server', url, '--id', this.id, '--part', part, '--model', 'model', '--engine', 'reference', '--threads', '1']
    const program = programs.start(args, { cwd: workshop.folder, env: workshop.environment })
    UnluckyClient.processes.set(this.id, program.child.pid!)
    writeFileSync(workshop.at('processes.json'), JSON.stringify(Object.fromEntries(UnluckyClient.processes)))
    return program
  }
}

test('a run of 20 rounds, in each of which 3 of 10 clients fail, ends, and counts what was sent by those who replied', async () => {
  await writeFile(workshop.at('noting.mjs'), NOTING_STRATEGY)
  await writeFile(workshop.at('rows.jsonl'), textRows(6 * CLIENTS))
  const config = await workshop.config('faults.yaml', {
    model: { model_name_or_path: 'model', engine: 'reference' },
    federation: {
      ...{ num_rounds: ROUNDS, num_clients: CLIENTS, local_steps: 8, reconnect_s: 2 },
      ...{ strategy: './noting.mjs', min_train_clients: 4, min_available_clients: CLIENTS },
    },
    data: { path: 'rows.jsonl', max_length: 32, partition: 'iid', eval_fraction: 0.2 },
    eval: { every_rounds: 10 },
  })
  const server = programs.start(['server', config, '--port', '0'], { cwd: workshop.folder, env: workshop.environment })
  const { url } = await server.line({ event: 'listening' })
  const port = Number(new URL(String(url)).port)
  const clients: UnluckyClient[] = []
  for (let index = 0; index < CLIENTS; index++) {
    const proxy = await tcpProxy(port)
    proxies.push(proxy)
    clients.push(new UnluckyClient(`client-${index}`, index, proxy))
  }
  const failed = new Map<number, string[]>()
  const faults = (async () => {
    for (let round = 1; round <= ROUNDS; round++) failed.set(round, await disturb(round, clients, server))
  })()
  faults.catch(() => {}) // the run's end tells why, if it ends before its time
  const { status, envelope } = await server.ended
  expect(envelope.error).toBeUndefined()
  expect(status).toBe(0)
  await faults

  const { run_dir, adapter_dir } = envelope.data as { run_dir: string; adapter_dir: string }
  const rounds = (await readFile(join(run_dir, 'metrics', 'rounds.jsonl'), 'utf8')).trimEnd().split('\n')
  const lines = rounds.map((line) => JSON.parse(line) as RoundLine).slice(1)
  expect(lines.map(({ round }) => round)).toEqual(Array.from({ length: ROUNDS }, (_, i) => i + 1))
  for (const { round, clients: parts, aggregation } of lines) {
    const { replies, missing, reasons = {} } = aggregation!
    expect(missing, `round ${round}`).toEqual(expect.arrayContaining(failed.get(round)!))
    expect(Object.keys(reasons).sort()).toEqual([...missing].sort())
    for (const reason of Object.values(reasons)) expect(reason).toMatch(/started again|nothing was heard of it for 2 s/)
    expect(replies).toBeGreaterThan(0)
    expect(parts.length).toBeGreaterThanOrEqual(replies)
  }
  expect([...failed.values()].flat().length).toBeGreaterThan(2 * ROUNDS)
  await expectMeans(lines, await readPeftWeights(adapter_dir))
}, 180_000)

/** Has 3 of 10 who are in the round fail, and others' connections suffer. @returns who failed, once the server goes on without them */
async function disturb(round: number, clients: readonly UnluckyClient[], server: Program): Promise<string[]> {
  const over = server.line({ event: 'round', round })
  const begun = clients.map(({ program }) => program.line({ event: 'round-start', round }).catch(() => over))
  await Promise.race([over, ...begun])
  const { clients: selected, stopped } = (await notes<Selected>('selected.jsonl'))[round - 1]
  const random = derive(9, 'faults', round)
  const drawn = shuffled(
    clients.filter(({ id }) => selected.includes(id) && id !== stopped),
    random,
  )
  const [cut, other] = drawn.splice(0, Math.ceil(0.3 * selected.length) - 1)
  const [slow, late, broken] = drawn
  cut?.proxy.shut()
  // A new process takes a while; of an old one only the way is cut.
  if (round % 2 === 0) await other?.kill()
  else other?.proxy.shut()
  slow?.proxy.become({ bytesPerSecond: 500_000 })
  late?.proxy.become({ delayMs: 5 + random.below(30) })
  broken?.proxy.cutAfter(1 + random.below(500))
  const failing = [stopped, ...[cut, other].flatMap((client) => client?.id ?? [])]
  await Promise.all(failing.map((id) => Promise.race([over, server.line({ event: 'missing', client: id, round })])))
  clients.find(({ id }) => id === stopped)!.program.child.kill('SIGCONT')
  cut?.proxy.open()
  other?.proxy.open()
  for (const { proxy } of clients) proxy.become({ bytesPerSecond: Infinity, delayMs: 0 })
  return failing
}

async function notes<Line>(file: string): Promise<Line[]> {
  return (await readFile(workshop.at(file), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const rest = [...items]
  return items.map(() => rest.splice(random.below(rest.length), 1)[0])
}

/** What each round ended with, which the next began with, is the mean of what the clients sent who are not missing. */
async function expectMeans(lines: readonly RoundLine[], last: ReadonlyMap<string, F32Tensor>): Promise<void> {
  const noted = await notes<Noted>('noted.jsonl')
  expect(noted.map(({ round }) => round)).toEqual(lines.map(({ round }) => round))
  for (const [index, { replies, began }] of noted.entries()) {
    const { round, aggregation } = lines[index]
    expect(replies).toHaveLength(aggregation!.replies)
    expect(replies.filter(({ client }) => aggregation!.missing.includes(client))).toEqual([])
    for (const name of Object.keys(began)) {
      const mean = meanOf(replies.map(({ examples, sent }) => ({ examples, numbers: floats(sent[name]) })))
      const next = noted[index + 1] ? floats(noted[index + 1].began[name]) : last.get(name)!.data
      expect(Buffer.from(mean.buffer).equals(Buffer.from(next.slice().buffer)), `round ${round}, ${name}`).toBe(true)
    }
  }
}

/** sum_k n_k w_k / sum_k n_k, in float64. Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1. */
function meanOf(replies: readonly { readonly examples: number; readonly numbers: Float32Array }[]): Float32Array {
  const total = replies.reduce((sum, { examples }) => sum + examples, 0)
  const weights = replies.map(({ examples }) => examples / total)
  const all = weights.reduce((sum, weight) => sum + weight, 0)
  return replies[0].numbers.map((_, i) => replies.reduce((sum, { numbers }, k) => sum + (weights[k] / all) * numbers[i], 0))
}

function floats(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64')
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}
