/**
 * @file Codecs by client in whole runs: those that the config names, and those that each client's measured link asks for.
 */
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { dataFromRows } from '../client/data.js'
import type { Backend } from '../shared/backend/backend.js'
import { onnxBackend } from '../shared/backend/onnx/onnx.node.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { AUTO_LADDER } from '../shared/protocol/codec/ladder.js'
import { cutTraffic } from '../shared/protocol/cut-bytes.js'
import { decodeVarints } from '../shared/protocol/varints.js'
import type { RoundLine, TrafficLine } from '../shared/run-records.js'
import type { TokenRow } from '../shared/train/rows.js'
import { LiveServer } from './testing/live-server.js'
import { overMemory, overSockets, type Connect } from './testing/links.js'
import { smallConfig, smallData } from './testing/small-run.js'
import { tcpProxy } from './testing/tcp-proxy.js'
import { runTogether } from './testing/together.js'

/** Of the golden model. */
const HIDDEN = 32

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function sockets(route?: (client: string, port: number) => Promise<number>): Promise<Connect> {
  const { connect, close } = await overSockets(route)
  cleanUps.push(close)
  return connect
}

/** What each client packed with in each round: activations, gradients. */
function codecsOf(rounds: readonly RoundLine[]): Record<string, string[]>[] {
  return rounds
    .filter(({ round }) => round > 0)
    .map(({ clients }) => Object.fromEntries(clients.map(({ id, codecs }) => [id, [codecs!.activations.codec, codecs!.gradients.codec]])))
}

describe('codecs by client', () => {
  const backend = referenceBackend()
  afterAll(() => backend.dispose())
  const config = smallConfig({
    transport: {
      activation_codec: { default: 'fp16', 'client-1': 'delta+int8', 'client-2': 'int4' },
      gradient_codec: { default: 'int8', 'client-2': 'fp32' },
    },
    federation: { num_rounds: 2, num_clients: 3, local_steps: 2 },
  })
  const EXPECTED: Record<string, [string, string]> = {
    'client-0': ['fp16', 'int8'],
    'client-1': ['delta+int8', 'int8'],
    'client-2': ['int4', 'fp32'],
  }

  test('are what each client packs with, in the books too, over memory and sockets alike', async () => {
    const run = await runTogether({ config, backend, data: smallData(3), connect: overMemory })
    expect(codecsOf(run.rounds)).toEqual([EXPECTED, EXPECTED])
    for (const [key, { hidden }] of run.activations) expect(hidden.codec).toBe(EXPECTED[key.split('/')[0]][0])
    for (const [key, { hidden }] of run.gradients) expect(hidden.codec).toBe(EXPECTED[key.split('/')[0]][1])
    const overNetwork = await runTogether({ config, backend, data: smallData(3), connect: await sockets() })
    expect(overNetwork.adapter).toEqual(run.adapter)
    const tensors = (lines: readonly TrafficLine[]) => new Set(lines.filter(({ fp32_bytes }) => fp32_bytes > 0))
    expect(tensors(overNetwork.traffic)).toEqual(tensors(run.traffic))
  })

  test('have beside them what the same tokens are as fp32: 4 bytes for each channel of each, in both directions', async () => {
    const { activations, traffic } = await runTogether({ config, backend, data: smallData(3), connect: overMemory })
    for (const client of Object.keys(EXPECTED)) {
      const sent = [...activations].filter(([key]) => key.startsWith(client)).map(([, message]) => message)
      const tokens = sent.flatMap(({ lengths }) => [...decodeVarints(lengths)]).reduce((sum, length) => sum + length, 0)
      const { up, down } = cutTraffic(traffic.filter((line) => line.client === client))
      expect([up.fp32_bytes, down.fp32_bytes]).toEqual([4 * HIDDEN * tokens, 4 * HIDDEN * tokens])
    }
    const ofLast = cutTraffic(traffic.filter(({ client }) => client === 'client-2'))
    // Gradients by fp32 are what they are; activations by int4 take an eighth, and their scales, targets and masks.
    expect(ofLast.down.fp32_ratio).toBe(1)
    expect(ofLast.up.fp32_ratio).toBeGreaterThan(1 / 8)
    expect(ofLast.up.fp32_ratio).toBeLessThan(1 / 4)
    const kinds = new Set(traffic.flatMap(({ kind, fp32_bytes }) => (fp32_bytes > 0 ? [kind] : [])))
    expect(kinds).toEqual(new Set(['activations', 'gradients', 'evaluation']))
  })

  test('that are for nobody are told once everybody has joined', async () => {
    const live = await LiveServer.start({
      config: smallConfig({
        transport: { activation_codec: { default: 'int8', 'client-0': 'fp16', ada: 'int4' } },
        federation: { num_clients: 2, num_rounds: 1, local_steps: 1 },
      }),
      backend,
    })
    cleanUps.push(() => live.dispose())
    const warnings = () => live.events.flatMap(({ event, reason }) => (event === 'warning' ? [reason] : []))
    live.join(0)
    expect(warnings()).toEqual([])
    live.join(1)
    expect(warnings()).toEqual(['transport.activation_codec names ada, and no client of this run is called so'])
    await live.server.finished
    expect(warnings()).toHaveLength(1)
  })
})

describe('auto', () => {
  /** What a step computes takes at least so long on each side, so that a quarter of it is far more than loopback takes. */
  const PROGRAM_MS = 100
  /** At this rate a client's batch of 384 tokens takes more than a second as fp16: far more than a step computes. */
  const SLOW_BYTES_PER_SECOND = 20_000

  /** A model so small computes in no time: this one works as one would that takes a while. */
  function dawdling(inner: Backend): Backend {
    return {
      ...inner,
      async compile(...options) {
        const program = await inner.compile(...options)
        return {
          ...program,
          async run(...inputs) {
            await new Promise((resolve) => setTimeout(resolve, PROGRAM_MS))
            return program.run(...inputs)
          },
        }
      },
    }
  }

  function rows(client: number): TokenRow[] {
    return Array.from({ length: 8 }, (_, row) => ({
      ids: Int32Array.from({ length: 48 }, (_, place) => (7 * place + 3 * row + client) % 96),
      scored: new Uint8Array(48).fill(1, 1),
      bytes: 48,
    }))
  }

  test('gives a client behind a slow link coarser codecs than the others from the second round on, and says why', async () => {
    const onnx = onnxBackend({ threads: 1, lanes: 3 })
    cleanUps.push(() => onnx.dispose())
    const connect = await sockets(async (client, port) => {
      if (client !== 'client-1') return port
      const proxy = await tcpProxy(port, SLOW_BYTES_PER_SECOND)
      cleanUps.push(() => proxy.close())
      return proxy.port
    })
    const { rounds } = await runTogether({
      config: smallConfig({
        model: { engine: 'onnx' },
        lora: { r: 1 },
        train: { per_device_train_batch_size: 8 },
        transport: { kind: 'socket', activation_codec: 'auto', gradient_codec: 'auto', codec_loss_budget: 1 },
        federation: { num_rounds: 2, num_clients: 3, local_steps: 1, optimizer_state: 'reset' },
        eval: { every_rounds: 100 },
      }),
      backend: dawdling(onnx),
      data: [0, 1, 2].map((index) => (client, config) => dataFromRows({ train: rows(index), evaluation: [] }, client, config)),
      connect,
    })
    const [before, after] = codecsOf(rounds)
    for (const codecs of Object.values(before)) expect(codecs).toEqual([AUTO_LADDER[0].activations.codec, AUTO_LADDER[0].gradients.codec])
    for (const [place, direction] of (['activations', 'gradients'] as const).entries()) {
      const rungOf = (client: string): number => AUTO_LADDER.findIndex((rung) => rung[direction].codec === after[client][place])
      for (const other of ['client-0', 'client-2']) expect(rungOf('client-1')).toBeGreaterThan(rungOf(other))
    }
    const [, first, second] = rounds.map(({ clients }) => clients.find(({ id }) => id === 'client-1')?.codecs)
    for (const direction of ['activations', 'gradients'] as const) {
      expect(first?.[direction].auto).toEqual({
        reason: 'nothing is measured yet: the safest',
        ...{ measured_round: null, bytes_per_s: null, step_s: null, transfer_s: null },
      })
      const { reason, measured_round, step_s, transfer_s } = second![direction].auto!
      expect(measured_round).toBe(1)
      expect(reason).toBe(
        transfer_s! > step_s! / 4
          ? 'transfers dominate with each: the coarsest within the budget'
          : 'the least coarse with which transfers do not dominate',
      )
    }
  })
})
