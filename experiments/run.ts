/**
 * @file `cutlayer run`: one whole experiment, from a config to a trained adapter.
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { concludeRun, doorOf, hostRun, linkLimits, whenAborted, type HostedRun } from '../server/host.js'
import { silentObserver, type RunObserver } from '../server/observer.js'
import { RunReporter } from '../server/reporter.js'
import { listen } from '../server/socket.js'
import { defineCommand, type CommandContext } from '../shared/command-line/index.node.js'
import { loadConfig } from '../shared/config/load.node.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { checkRows } from './check-rows.js'
import { clientProcesses, memoryClients, type RunningClients } from './clients.js'
import { runResult, runSummary, type RunResult } from '../server/run-summary.js'

/** How long clients may take to end once the server has told them to. */
const PATIENCE_MS = 10_000

export interface ExperimentOptions {
  /** The command line, for metadata.json. */
  readonly argv?: readonly string[]
  /** Hears of steps, rounds and events as they happen. */
  readonly watcher?: RunObserver
  /** Ends the run after the step under way; what was trained stays. */
  readonly signal?: AbortSignal
  /** Told once the run's folder exists. */
  readonly onStart?: (hosted: HostedRun) => void
}

/**
 * Runs an experiment: a server here, and its clients as processes over sockets or as trainers over memory links.
 * @throws UserError whatever keeps it from starting or ends it early; its folder, if it got one, then holds what was done.
 */
export async function runExperiment(config: Config, options: ExperimentOptions = {}): Promise<RunResult> {
  const { argv = [], watcher = silentObserver, signal, onStart } = options
  const cores = availableParallelism()
  const inMemory = config.transport.kind === 'memory'
  const local = inMemory ? Math.min(cores, clientCount(config) + 1) : clientCount(config) + 1
  const threads = config.model.threads ?? Math.max(1, Math.floor(cores / local))
  const token = inMemory ? null : randomBytes(24).toString('hex')
  const hosted = await hostRun({
    config,
    argv,
    token,
    threads,
    lanes: inMemory ? local : 1,
    watcher,
    check: (model) => checkRows(config, model),
  })
  onStart?.(hosted)
  await concludeRun(hosted, signal, () =>
    inMemory ? overMemory({ config, hosted, threads }, signal) : overSockets({ config, hosted, threads }, token!, signal),
  )
  return runResult(hosted)
}

interface Setup {
  readonly config: Config
  readonly hosted: HostedRun
  readonly threads: number
}

async function overMemory(setup: Setup, signal: AbortSignal | undefined): Promise<void> {
  await untilFinished(setup, memoryClients(setup), signal)
}

async function overSockets(setup: Setup, token: string, signal: AbortSignal | undefined): Promise<void> {
  const { hosted } = setup
  const secret = await mkdtemp(join(tmpdir(), 'cutlayer-'))
  const forget = (): void => rmSync(secret, { recursive: true, force: true })
  // Also when Ctrl-C is pressed twice.
  process.once('exit', forget)
  try {
    const tokenFile = join(secret, 'token')
    await writeFile(tokenFile, token, { mode: 0o600 })
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
      await untilFinished(setup, clientProcesses({ ...setup, url: listening.url, tokenFile }), signal)
    } finally {
      await listening.close('the run is over')
    }
  } finally {
    forget()
    process.off('exit', forget)
  }
}

/** Waits for the server; a client that fails before training begins ends the run with its error, and so does the first to fail if all do. */
async function untilFinished({ hosted }: Setup, clients: RunningClients, signal: AbortSignal | undefined): Promise<void> {
  const { server } = hosted.started
  const failed = new Promise<never>((_, reject) => {
    clients.ended.catch(async (error: Error) => {
      // Once rounds are under way the server goes on without a client that left, as long as there is another.
      if (server.round > 0) await clients.settled
      if (!hosted.record.isOver && !signal?.aborted) reject(error)
    })
  })
  try {
    await Promise.race([server.finished, failed, whenAborted(signal)])
    if (!signal?.aborted) await Promise.race([clients.settled, whenAborted(signal), setTimeout(PATIENCE_MS, null, { ref: false })])
  } finally {
    await server.stop(signal?.aborted ? 'the run was interrupted' : 'the run is over')
    await clients.stop()
  }
}

const notYet = (flag: string): UserError =>
  new UserError({
    code: 'CONFIG_NOT_BUILT',
    what: `${flag} is not built yet`,
    why: 'this version of cutlayer does not have it',
    fix: `leave ${flag} out`,
  })

export const runCommand = defineCommand({
  usage: 'run <config> [overrides...]',
  summary: 'one whole experiment: starts the server and its clients, and trains',
  example: 'cutlayer run experiments/configs/quickstart.yaml federation.num_rounds=2 transport.kind=memory',
  flags: { '--resume <run>': 'go on with an interrupted run (not built yet)', '--trace <file>': 'write a Chrome trace (not built yet)' },
  options: z.object({ resume: z.string().optional(), trace: z.string().optional() }),
  graceful: true,
  async run(context: CommandContext, [path, ...overrides], { resume, trace }) {
    if (resume !== undefined) throw notYet('--resume')
    if (trace !== undefined) throw notYet('--trace')
    const config = await loadConfig(path, overrides)
    context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
    const reporter = new RunReporter(context, config)
    try {
      const result = await runExperiment(config, {
        argv: ['run', path, ...overrides],
        watcher: reporter,
        signal: context.signal,
        onStart: (hosted) => reporter.start(hosted),
      })
      return { data: result, text: runSummary(context, result) }
    } finally {
      reporter.finish()
    }
  },
})
