/**
 * @file The clients that `run` starts: processes of this program that connect over sockets, or trainers in this process over memory links.
 */
import type { ChildProcess } from 'node:child_process'
import { helloOf, joinRun, memoryMoments } from '../client/join.js'
import { linkLimits } from '../server/door.js'
import { whenAborted, type HostedRun } from '../server/host.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { ERROR_CODES, UserError, type ErrorCode } from '../shared/errors.js'
import { outputLog } from '../shared/log.node.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { TraceFile } from '../shared/trace-file.node.js'
import { packageVersion } from '../shared/version.node.js'
import { simulate } from './simulation.js'
import { spawnProgram } from './own-program.js'

/** How long a client may take to end its step. */
const KILL_AFTER_MS = 10_000
/** Where there is no time for that: how long it may take to end at all. */
const KILL_URGENTLY_MS = 500

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
  const { model, backend, weights, started } = hosted
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
      moments: memoryMoments(),
      openModel: async () => ({ ...model, weights: async () => weights }),
      openData,
      around,
    })
  })
  const settled = Promise.allSettled(clients)
  // The server has closed their links, which ends them.
  return { ended: Promise.all(clients).then(() => {}), settled, stop: () => settled.then(() => simulation.dispose()) }
}

/** Whoever starts a run names its data set: its clients may run that file. */
function datasetFileOf({ data }: Config): string | null {
  return isOwnModule(data.dataset) ? data.dataset : null
}

export interface ProcessSetup extends ClientSetup {
  readonly url: string
  readonly tokenFile: string
}

/** As `cutlayer client` would be typed, each logging into the run directory. They get no Ctrl-C of their own: the server tells them to end. */
export function clientProcesses({ config, hosted, threads, url, tokenFile, trace }: ProcessSetup): RunningClients {
  const count = clientCount(config)
  const children = Array.from({ length: count }, (_, index) => {
    const id = `client-${index}`
    const args = ['client', '--server', url, '--id', id, '--part', `${index}/${count}`, '--token-file', tokenFile]
    args.push('--model', hosted.model.folder, '--engine', config.model.engine, '--threads', String(threads), '--format', 'json')
    if (trace) args.push('--trace', trace.partFor(id))
    const datasetFile = datasetFileOf(config)
    if (datasetFile !== null) args.push('--dataset', datasetFile)
    const child = spawnProgram(args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    return { id, child, log: hosted.directory.logFile(`client-${id}`) }
  })
  const kill = (): void => {
    for (const { child } of children) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  }
  process.once('exit', kill)
  const watched = children.map(({ id, child, log }) => watch(id, child, log))
  const ended = Promise.all(watched).then(() => {})
  const settled = Promise.allSettled(watched)
  ended.catch(() => {})
  return {
    ended,
    settled,
    async stop(urgent) {
      for (const { child } of children) child.kill('SIGTERM')
      // One that hangs, or was stopped itself, hears nothing else.
      const timers = [setTimeout(kill, KILL_AFTER_MS)]
      void whenAborted(urgent).then(() => timers.push(setTimeout(kill, KILL_URGENTLY_MS).unref()))
      await settled
      timers.forEach(clearTimeout)
      process.off('exit', kill)
    },
  }
}

/** Keeps a client's output in its log, and turns its last line into the error it ended with. */
async function watch(id: string, child: ChildProcess, logPath: string): Promise<void> {
  // A disk that is full ends the run when its own lines cannot be written; a client's words alone are no reason.
  const log = outputLog(logPath)
  let last = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    log?.append(text)
    last = (last + text).slice(-65536)
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => log?.append(text))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  }).finally(() => log?.close())
  if (code !== 0) throw errorOf(id, last, child.signalCode)
}

function errorOf(id: string, output: string, signal: NodeJS.Signals | null): UserError {
  const failed = { code: 'CLIENT_FAILED' as const, what: `${id} ended early`, fix: `see logs/client-${id}.log in the run's folder` }
  if (signal) return new UserError({ ...failed, why: `it was ended by ${signal}` })
  try {
    const { error } = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as {
      error: { code: string; what: string; why: string; fix: string }
    }
    const code = (Object.hasOwn(ERROR_CODES, error.code) ? error.code : 'CLIENT_FAILED') as ErrorCode
    return new UserError({ code, what: `${id}: ${error.what}`, why: error.why, fix: error.fix })
  } catch {
    return new UserError({ ...failed, why: 'it left no message' })
  }
}
