/**
 * @file One whole experiment, from a config to a trained adapter: the server here, and its clients beside it.
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { serverShare, sharedEngine } from '../server/engine-share.js'
import { doorOf, linkLimits } from '../server/door.js'
import { concludeRun, hostRun, whenAborted, type HostedRun } from '../server/host.js'
import { fullObserver, type RunObserver } from '../server/observer.js'
import { listen } from '../server/socket.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { HubEvent } from '../shared/model/hub/snapshot.node.js'
import type { RunGroup } from '../shared/run-records.js'
import type { TraceFile } from '../shared/trace-file.node.js'
import { checkRows } from './check-rows.js'
import { clientProcesses } from './client-processes.js'
import { memoryClients, type RunningClients } from './clients.js'
import { refuseStrangers } from './named-clients.js'
import type { InterruptedRun } from '../server/resume/interrupted-run.js'
import { runResult, type RunResult } from '../server/run-summary.js'

/** How long clients may take to end once the server has told them to. */
const PATIENCE_MS = 10_000

export interface ExperimentOptions {
  /** The command line, for metadata.json. */
  readonly argv?: readonly string[]
  /** Is told what happens, as it happens: rounds, steps, events, traffic, adapters. Only what it has a function for. */
  readonly watcher?: Partial<RunObserver>
  /** Hears of a hub model's download. */
  readonly onDownload?: (event: HubEvent) => void
  /** Ends the run after the step under way; what was trained stays. */
  readonly signal?: AbortSignal
  /** Ends it at once, if the step takes too long. */
  readonly urgent?: AbortSignal
  /** Told once the run's folder exists. */
  readonly onStart?: (hosted: HostedRun) => void
  /** Goes on with this run; the config is then its own. It is closed when the run is over, or cannot begin. */
  readonly resume?: InterruptedRun
  /** Of a run that is one of several, see seeds/series.ts. */
  readonly group?: RunGroup
  /** Gets what the server, its clients and their engines do when. Whoever opened it finishes it. */
  readonly trace?: TraceFile
}

/**
 * Runs an experiment: a server here, and its clients as processes over sockets or as trainers over memory links.
 * @throws UserError whatever keeps it from starting or ends it early; its folder, if it got one, then holds what was done. The signal's reason
 *   if it comes before there is a folder.
 */
export async function runExperiment(config: Config, options: ExperimentOptions = {}): Promise<RunResult> {
  try {
    return await experiment(config, options)
  } finally {
    options.resume?.lock.release()
  }
}

async function experiment(config: Config, options: ExperimentOptions): Promise<RunResult> {
  const { argv = [], watcher = {}, onDownload, signal, urgent, onStart, group, trace, resume } = options
  refuseStrangers(config)
  const cores = availableParallelism()
  const inMemory = config.transport.kind === 'memory'
  const local = inMemory ? Math.min(cores, clientCount(config) + 1) : clientCount(config) + 1
  const threads = config.model.threads ?? Math.max(1, Math.floor(cores / local))
  const ofServer = config.model.threads ?? cores
  const token = inMemory ? null : randomBytes(24).toString('hex')
  const hosted = await hostRun({
    config,
    argv,
    token,
    group,
    share: (model) =>
      inMemory ? sharedEngine(config, model, { threads: ofServer, lanes: local, each: threads }) : serverShare(config, model, ofServer),
    watcher: fullObserver(watcher),
    onDownload,
    signal,
    trace: trace?.trace,
    resume,
    check: (model) => checkRows(config, model),
  })
  onStart?.(hosted)
  await concludeRun(hosted, signal, () =>
    signal?.aborted
      ? hosted.started.server.stop('the run was interrupted')
      : hosted.started.server.isOver
        ? hosted.started.server.finished // all its rounds had been made
        : inMemory
          ? overMemory({ config, hosted, threads, trace }, { signal, urgent })
          : overSockets({ config, hosted, threads, trace }, token!, { signal, urgent }),
  )
  return runResult(hosted)
}

interface Setup {
  readonly config: Config
  readonly hosted: HostedRun
  readonly threads: number
  readonly trace: TraceFile | undefined
}

/** What ends a run before its time. */
interface Stops {
  readonly signal: AbortSignal | undefined
  readonly urgent: AbortSignal | undefined
}

async function overMemory(setup: Setup, stops: Stops): Promise<void> {
  await untilFinished(setup, memoryClients(setup), stops)
}

async function overSockets(setup: Setup, token: string, stops: Stops): Promise<void> {
  const { hosted } = setup
  let secret: string | null = null
  const forget = (): void => {
    if (secret !== null) rmSync(secret, { recursive: true, force: true })
  }
  // Also when Ctrl-C is pressed twice.
  process.once('exit', forget)
  try {
    secret = await mkdtemp(join(tmpdir(), 'cutlayer-')).catch(refuseTemporary)
    const tokenFile = join(secret, 'token')
    await writeFile(tokenFile, token, { mode: 0o600 }).catch(refuseTemporary)
    const { attach: onLink, screen, onConnection } = doorOf(hosted)
    const listening = await listen({
      host: '127.0.0.1',
      port: 0,
      clients: clientCount(setup.config),
      limits: linkLimits(setup.config),
      screen,
      onLink,
      onConnection,
    })
    try {
      await untilFinished(setup, clientProcesses({ ...setup, url: listening.url, tokenFile }), stops)
    } finally {
      await listening.close('the run is over')
    }
  } finally {
    forget()
    process.off('exit', forget)
  }
}

function refuseTemporary(cause: Error): never {
  throw new UserError(
    {
      code: 'OUTPUT_UNWRITABLE',
      what: 'the token that clients show cannot be written to the temporary folder',
      why: cause.message,
      fix: 'make room there and make it writable, or name another folder in TMPDIR',
    },
    { cause },
  )
}

/** Waits for the server; a client that fails before training begins ends the run with its error, and so does the first to fail if all do. */
async function untilFinished({ config, hosted }: Setup, clients: RunningClients, { signal, urgent }: Stops): Promise<void> {
  const { server } = hosted.started
  const failed = new Promise<never>((_, reject) => {
    clients.ended.catch(async (error: Error) => {
      // Once rounds are under way the server goes on without a client that left, as long as there is another, and the rounds may do without it.
      if (server.round > 0 && config.federation.on_client_loss === 'continue') await clients.settled
      if (!hosted.record.isOver && !signal?.aborted) reject(error)
    })
  })
  try {
    const stopped = whenAborted(signal).then(() => {
      server.stopAfterStep('the run was interrupted')
      // Without clients no step is ever made.
      return clients.settled
    })
    await Promise.race([server.finished, failed, stopped, whenAborted(urgent)])
    if (!signal?.aborted) await Promise.race([clients.settled, whenAborted(signal), setTimeout(PATIENCE_MS, null, { ref: false })])
  } finally {
    await server.stop(signal?.aborted ? 'the run was interrupted' : 'the run is over')
    await clients.stop(urgent)
  }
}
