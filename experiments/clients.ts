/**
 * @file The clients that `run` starts as trainers in this process, over memory links; `client-processes.ts` has those that connect over sockets.
 */
import { helloOf, joinRun } from '../client/join.js'
import { storedMoments } from '../client/moments.node.js'
import { linkLimits } from '../server/door.js'
import type { HostedRun } from '../server/host.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { TraceFile } from '../shared/trace-file.node.js'
import { packageVersion } from '../shared/version.node.js'
import { simulate } from './simulation.js'

export interface RunningClients {
  /** Rejects with the first error that keeps a client from training; resolves when all have ended well. */
  readonly ended: Promise<void>
  /** Resolves when all have ended, well or not. */
  readonly settled: Promise<unknown>
  /** Ends what still runs, and waits for it; not for long, once the signal aborts. */
  stop(urgent?: AbortSignal): Promise<void>
}

export interface ClientSetup {
  readonly config: Config
  readonly hosted: HostedRun
  readonly threads: number
  readonly trace?: TraceFile | undefined
}

/** In this process, with programs and a data set that they share. */
export function memoryClients({ config, hosted, trace }: ClientSetup): RunningClients {
  const { model, backend, weights, started, directory } = hosted
  const count = clientCount(config)
  const simulation = simulate(config, hosted)
  const clients = Array.from({ length: count }, async (_, index) => {
    const client = `client-${index}`
    const part = { index, count }
    const hello = helloOf({ client, token: null, part, ownData: false, engine: backend.name, software: `cutlayer ${packageVersion()}` })
    const pair = memoryLinkPair({ hello, limits: linkLimits(config) })
    started.server.attach(pair.server)
    const { openData, around } = simulation.client(client, index)
    await joinRun({
      client,
      link: pair.client,
      backend,
      stages: simulation.stages,
      ...(trace ? { trace: trace.trace } : {}),
      moments: storedMoments(`${directory.name}_${directory.id}`, client),
      openModel: async () => ({ ...model, weights: async () => weights }),
      openData,
      around,
    })
  })
  const settled = Promise.allSettled(clients)
  // The server has closed their links, which ends them.
  return { ended: Promise.all(clients).then(() => {}), settled, stop: () => settled.then(() => simulation.dispose()) }
}
