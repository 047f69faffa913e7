/**
 * @file The library's edge server: one run, on this machine, that clients join over sockets. What `cutlayer server` does.
 */
import type { HostedRun } from '../../server/host.js'
import { fullObserver, type RunObserver } from '../../server/observer.js'
import { runResult, type RunResult } from '../../server/run-summary.js'
import { serveRun, type ServedRun } from '../../server/serve.js'
import type { InterruptedRun } from '../../server/resume/interrupted-run.js'
import type { Config } from '../../shared/config/schema.js'
import type { F32Tensor } from '../../shared/tensor.js'

export interface EdgeServerOptions {
  /** Address to listen on [127.0.0.1]; one that other machines reach needs `transport.tls` and `transport.token_file` in the config, or `insecure`. */
  readonly host?: string
  readonly insecure?: boolean
  /** Names by which the server is asked, beside those of its certificate; the first stands in `url`. */
  readonly names?: readonly string[]
  /** [0: any free one] */
  readonly port?: number
  /** Is told what happens, as it happens: rounds, steps, events, traffic, adapters. Only what it has a function for. */
  readonly watcher?: Partial<RunObserver>
  /** As `stop`. */
  readonly signal?: AbortSignal
  /** Goes on with this run; the config is then its own. It is closed when the run is over, or cannot begin. */
  readonly resume?: InterruptedRun
}

/**
 * A server that is up. The run begins by itself once `federation.min_available_clients` have joined, and ends after the last round.
 *
 *     const server = await EdgeServer.start(config)
 *     const client = await Client.join(server.url, { id: 'ada', data: 'rows.jsonl' })
 *     const { adapter_dir } = await server.finished
 */
export class EdgeServer {
  /** What clients connect to. */
  readonly url: string
  /** The run's folder. */
  readonly runDir: string
  /** Resolves when the run is over and all is closed; rejects with the UserError that it failed with. */
  readonly finished: Promise<RunResult>

  private readonly hosted: HostedRun

  private constructor(
    { url, hosted, conclude }: ServedRun,
    private readonly stopping: AbortController,
  ) {
    this.url = url
    this.hosted = hosted
    this.runDir = hosted.directory.folder
    this.finished = conclude().then(() => runResult(hosted))
    this.finished.catch(() => {}) // whoever awaits it hears of it; nobody has to
  }

  /** @throws UserError whatever is wrong with config, model, address or output folder. */
  static async start(config: Config, options: EdgeServerOptions = {}): Promise<EdgeServer> {
    const { host = '127.0.0.1', insecure = false, port = 0, names, watcher = {}, signal, resume } = options
    const stopping = new AbortController()
    const both = signal ? AbortSignal.any([signal, stopping.signal]) : stopping.signal
    const where = { host, port, insecure, names }
    const starting = serveRun({ config, argv: [], ...where, watcher: fullObserver(watcher), signal: both, resume })
    const served = await starting.catch((error: unknown) => {
      resume?.lock.release()
      throw error
    })
    return new EdgeServer(served, stopping)
  }

  /** The current round, 0 before training. */
  get round(): number {
    return this.hosted.started.server.round
  }

  /**
   * The whole adapter as of the last finished round, by PEFT's names.
   * @param client whose, in the topology `local`.
   */
  adapter(client: string | null = null): Map<string, F32Tensor> {
    return this.hosted.started.server.adapter(client)
  }

  /** Ends the run after the step under way. What the last finished round left stays. @returns `finished` */
  stop(): Promise<RunResult> {
    this.stopping.abort()
    return this.finished
  }
}
