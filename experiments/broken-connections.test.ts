import { afterAll, describe, expect, test } from 'vitest'
import { connect } from '../client/socket.js'
import { listen } from '../server/socket.js'
import { referenceBackend } from '../shared/backend/reference.js'
import type { ServerLink } from '../shared/protocol/link.js'
import { smallConfig, smallData } from './testing/small-run.js'
import { tcpProxy } from './testing/tcp-proxy.js'
import { runTogether, type RunTogether } from './testing/together.js'

const backend = referenceBackend()
afterAll(() => backend.dispose())

/** Less than any of a run's activations take. */
const WITHIN_A_MESSAGE = 60

function configOf(activation_codec: string, gradient_codec: string) {
  return smallConfig({
    federation: { num_clients: 2, num_rounds: 3, local_steps: null, local_epochs: 1 },
    transport: { activation_codec, gradient_codec },
  })
}

/** The run over sockets, with a proxy between that resets a connection in the middle of what it carries, again after each of the first steps. */
async function disturbed(
  config: ReturnType<typeof configOf>,
  cuts: number,
): Promise<{ run: RunTogether; connections: number; resyncs: number }> {
  const attachments = new Map<string, (link: ServerLink) => void>()
  const listening = await listen({ host: '127.0.0.1', port: 0, clients: 4, onLink: (link, { client }) => attachments.get(client)!(link) })
  const proxy = await tcpProxy(listening.port)
  let [left, resyncs] = [cuts, 0]
  try {
    const run = await runTogether({
      config,
      backend,
      data: smallData(2),
      onStep: () => {
        if (left-- > 0) proxy.cutAfter(WITHIN_A_MESSAGE)
      },
      async connect(hello, attach) {
        attachments.set(hello.client, attach)
        const link = await connect({ url: `http://127.0.0.1:${proxy.port}`, hello: () => hello })
        link.onTraffic((_, message) => void (resyncs += Number(message.type === 'resync')))
        return link
      },
    })
    return { run, connections: proxy.connections(), resyncs }
  } finally {
    await listening.close('the test is over')
    await proxy.close()
  }
}

describe('connections that break in the middle of messages', () => {
  test.each([
    ['delta+int8', 'delta+int4+zstd'],
    ['lowrank:rank=2+int8', 'lowrank:rank=1+int8'],
    ['reuse+int8', 'feedback+int8'],
  ])('change no bit of a run with %s and %s, and nothing is told twice', async (activations, gradients) => {
    const config = configOf(activations, gradients)
    const plain = await runTogether({ config, backend, data: smallData(2) })
    const { run, connections, resyncs } = await disturbed(config, 3)
    // Two clients would need two.
    expect(connections).toBeGreaterThanOrEqual(4)
    expect(resyncs).toBe(0)
    expect(run.adapter).toEqual(plain.adapter)
    expect(run.activations).toEqual(plain.activations)
    expect(run.gradients).toEqual(plain.gradients)
    expect(run.rounds.map(({ eval_loss }) => eval_loss)).toEqual(plain.rounds.map(({ eval_loss }) => eval_loss))
  })
})
