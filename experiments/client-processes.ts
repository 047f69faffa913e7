/**
 * @file The clients that `run` starts as processes of this program, which connect over sockets. Where the config has rounds start again with a client that
 * was lost (`restart_round`), one that was killed is started again.
 */
import type { ChildProcess } from 'node:child_process'
import { whenAborted } from '../server/host.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { ERROR_CODES, UserError, type ErrorCode } from '../shared/errors.js'
import { outputLog } from '../shared/log.node.js'
import type { ClientSetup, RunningClients } from './clients.js'
import { spawnProgram } from './own-program.js'

/** How long a client may take to end its step. */
const KILL_AFTER_MS = 10_000
/** Where there is no time for that: how long it may take to end at all. */
const KILL_URGENTLY_MS = 500
/** How often a client is started again that was killed: more often it would be for a reason that stays. */
const MOST_RESTARTS = 3

export interface ProcessSetup extends ClientSetup {
  readonly url: string
  readonly tokenFile: string
}

/** As `cutlayer client` would be typed, each logging into the run directory. They get no Ctrl-C of their own: the server tells them to end. */
export function clientProcesses(setup: ProcessSetup): RunningClients {
  const children = Array.from({ length: clientCount(setup.config) }, (_, index) => new ClientProcess(setup, index))
  const kill = (): void => children.forEach((child) => child.kill())
  process.once('exit', kill)
  const ended = Promise.all(children.map((child) => child.ended)).then(() => {})
  const settled = Promise.allSettled(children.map((child) => child.ended))
  ended.catch(() => {})
  return {
    ended,
    settled,
    async stop(urgent) {
      for (const child of children) child.end()
      // One that hangs, or was stopped itself, hears nothing else.
      const timers = [setTimeout(kill, KILL_AFTER_MS)]
      void whenAborted(urgent).then(() => timers.push(setTimeout(kill, KILL_URGENTLY_MS).unref()))
      await settled
      timers.forEach(clearTimeout)
      process.off('exit', kill)
    },
  }
}

/** One client, as one process after another. */
class ClientProcess {
  /** Rejects with the error that the client ended with. */
  readonly ended: Promise<void>
  private readonly id: string
  private readonly args: readonly string[]
  private child: ChildProcess
  private isEnding = false

  constructor(
    private readonly setup: ProcessSetup,
    index: number,
  ) {
    const { config, hosted, threads, url, tokenFile, trace } = setup
    this.id = `client-${index}`
    const args = ['client', '--server', url, '--id', this.id, '--part', `${index}/${clientCount(config)}`, '--token-file', tokenFile]
    args.push('--model', hosted.model.folder, '--engine', config.model.engine, '--threads', String(threads), '--format', 'json')
    // Its server is this process: when that is gone, so is the run.
    args.push('--retry-s', '0')
    if (trace) args.push('--trace', trace.partFor(this.id))
    const datasetFile = datasetFileOf(config)
    if (datasetFile !== null) args.push('--dataset', datasetFile)
    this.args = args
    this.child = this.start()
    this.ended = this.watch()
  }

  /** Ends it after its step, for good. */
  end(): void {
    this.isEnding = true
    this.child.kill('SIGTERM')
  }

  kill(): void {
    this.isEnding = true
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL')
  }

  private start(): ChildProcess {
    return spawnProgram(this.args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  }

  private async watch(): Promise<void> {
    const { config, hosted } = this.setup
    const log = hosted.directory.logFile(`client-${this.id}`)
    for (let restarts = 0; ; restarts++) {
      try {
        return await watch(this.id, this.child, log)
      } catch (error) {
        const { signalCode } = this.child
        const isWanted = config.federation.on_client_loss === 'restart_round' && !this.isEnding && !hosted.record.isOver
        if (signalCode === null || !isWanted || restarts === MOST_RESTARTS) throw error
        hosted.started.server.warn(
          `${this.id} was ended by ${signalCode}, and is started again (${restarts + 1} of ${MOST_RESTARTS} times)`,
        )
        this.child = this.start()
      }
    }
  }
}

/** Whoever starts a run names its data set: its clients may run that file. */
function datasetFileOf({ data }: Config): string | null {
  return isOwnModule(data.dataset) ? data.dataset : null
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
