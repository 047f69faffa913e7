import { afterEach, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import type { StepLine } from '../shared/run-records.js'
import { overSockets } from './testing/links.js'
import { manualClock } from './testing/manual-clock.js'
import { smallConfig, smallData } from './testing/small-run.js'
import { tcpProxy, type TcpProxy } from './testing/tcp-proxy.js'
import { runTogether } from './testing/together.js'

const proxies = new Map<string, TcpProxy>()
afterEach(async () => {
  for (const proxy of proxies.values()) await proxy.close()
  proxies.clear()
})

/** Sockets through a proxy for each client. */
function overProxies(): ReturnType<typeof overSockets> {
  return overSockets(async (client, port) => {
    const proxy = await tcpProxy(port)
    proxies.set(client, proxy)
    return proxy.port
  })
}

const STEPS = 6

test('over sockets a step deadline closes steps without a client whose messages do not come, and the round without its adapter', async () => {
  const sockets = await overProxies()
  const clock = manualClock()
  const backend = referenceBackend()
  const inTime = new Map<number, Set<string>>()
  let isFirst = true
  const onStep = ({ step, client }: StepLine): void => {
    if (client === null) return
    const stuck = proxies.get('client-2')!
    const clients = (inTime.get(step) ?? new Set()).add(client)
    inTime.set(step, clients)
    if (isFirst) stuck.become({ delayMs: 1e9 })
    isFirst = false
    const isLast = step === STEPS - 1
    if (client === 'client-2' || !clients.has('client-0') || !clients.has('client-1')) return
    // A turn later: the machine is through with the event that brought us here. In the end the stuck one goes on, and hears what it missed.
    setImmediate(() => {
      clock.advance(1000)
      if (isLast) stuck.become({ delayMs: 0 })
    })
  }
  try {
    const federation = { num_clients: 3, local_steps: STEPS, step_deadline_s: 1, min_replies: 2 }
    const { rounds } = await runTogether({
      ...{ config: smallConfig({ federation }), backend, data: smallData(3), connect: sockets.connect, clock, onStep },
    })
    const { replies, missing, reasons } = rounds[1].aggregation!
    expect({ replies, missing }).toEqual({ replies: 2, missing: ['client-2'] })
    expect(reasons!['client-2']).toMatch(/^dropped in [456] of 6 steps$/)
    expect(rounds[1].clients.map(({ id, steps }) => [id, steps]).slice(0, 2)).toEqual([
      ['client-0', STEPS],
      ['client-1', STEPS],
    ])
  } finally {
    await sockets.close()
  }
})

test('over sockets a run begins with min_available_clients, and takes in who comes later', async () => {
  const sockets = await overProxies()
  const backend = referenceBackend()
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  try {
    const federation = { num_clients: 3, num_rounds: 15, local_steps: 1, min_available_clients: 2 }
    const { rounds } = await runTogether({
      ...{ config: smallConfig({ federation, eval: { every_rounds: 100 } }), backend, data: smallData(3), onStep: () => begin() },
      async connect(hello, attach) {
        if (hello.client === 'client-2') await begun
        return sockets.connect(hello, attach)
      },
    })
    const clients = rounds.map((line) => line.clients.map(({ id }) => id))
    expect(clients[0]).toEqual(['client-0', 'client-1'])
    expect(clients[1]).toEqual(['client-0', 'client-1'])
    expect(clients.at(-1)).toEqual(['client-0', 'client-1', 'client-2'])
  } finally {
    await sockets.close()
  }
})
