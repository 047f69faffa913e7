/**
 * @file `cutlayer server`: the edge server alone; clients join it from other terminals or machines.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import {
  defineCommand,
  integerFlag,
  type CommandContext,
  type CommandDefinition,
  type CommandResult,
} from '../shared/command-line/index.node.js'
import { loadConfig } from '../shared/config/load.node.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import { readToken } from '../shared/token-file.node.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { checkToken } from './admission.js'
import { concludeRun, doorOf, hostRun, linkLimits, whenAborted, type HostedRun } from './host.js'
import { RunReporter } from './reporter.js'
import { runResult, runSummary } from './run-summary.js'
import { listen, type ListenOptions } from './socket.js'

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/

const serverCommand = defineCommand({
  usage: 'server <config> [overrides...]',
  summary: 'the edge server alone; prints the line that a client needs',
  example: 'cutlayer server experiments/configs/quickstart.yaml --port 7700 federation.num_clients=2',
  flags: {
    '--host <address>': 'address to listen on (default 127.0.0.1)',
    '--port <n>': 'port to listen on (default 7700; 0: any free one)',
    '--insecure': 'allow an address that other machines reach, although the connection is not encrypted',
  },
  options: z.object({
    host: z.string().default('127.0.0.1'),
    port: integerFlag(0, 65535).default(7700),
    insecure: z.boolean().default(false),
  }),
  graceful: true,
  async run(context, [path, ...overrides], { host, port, insecure }) {
    const config = await loadConfig(path, overrides)
    if (!LOOPBACK.test(host) && !insecure) throw openToOthers(host)
    const token = config.transport.token_file === null ? null : await readToken(config.transport.token_file)
    if (!LOOPBACK.test(host)) context.warn(`anybody who reaches ${host} can read the traffic${token === null ? ' and join' : ''}`)
    context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
    const reporter = new RunReporter(context, config)
    // The port comes first, so that one in use leaves no empty run behind. Clients that are early wait.
    const early: ServerLink[] = []
    let attach = (link: ServerLink): void => void early.push(link)
    let screen = (hello: MessageOf<'hello'>): void => checkToken(token, hello)
    let onConnection: NonNullable<ListenOptions['onConnection']> = () => {}
    const listening = await listen({
      host,
      port,
      clients: clientCount(config),
      limits: linkLimits(config),
      screen: (hello) => screen(hello),
      onLink: (link) => attach(link),
      onConnection: (...change) => onConnection(...change),
    })
    try {
      const threads = config.model.threads ?? availableParallelism()
      const hosted = await hostRun({
        config,
        argv: ['server', path, ...overrides],
        token,
        threads,
        lanes: 1,
        watcher: reporter,
        signal: context.signal,
      })
      ;({ attach, screen, onConnection } = doorOf(hosted))
      early.forEach(attach)
      return await serve(context, config, hosted, reporter, listening.url)
    } finally {
      reporter.finish()
      await listening.close('the run is over')
    }
  },
})

async function serve(
  context: CommandContext,
  config: Config,
  hosted: HostedRun,
  reporter: RunReporter,
  url: string,
): Promise<CommandResult> {
  const { server } = hosted.started
  await concludeRun(hosted, context.signal, async () => {
    try {
      reporter.start(hosted)
      const line = clientLine(config, url)
      context.event(
        { event: 'listening', url, client: line },
        `listening on ${url}, waiting for ${clientCount(config) === 1 ? 'a client; start it with' : `${clientCount(config)} clients; start each with an id of its own:`}\n  ${line}`,
      )
      void whenAborted(context.signal).then(() => server.stopAfterStep('the server was stopped'))
      await server.finished
    } finally {
      await server.stop(context.signal.aborted ? 'the server was stopped' : 'the run is over')
    }
  })
  const result = runResult(hosted)
  return { data: result, text: runSummary(context, result) }
}

/** What to type for a client; words in capitals are for whoever types. */
function clientLine({ model, data, transport }: Config, url: string): string {
  // A client finds only the shipped model by itself; where it keeps another one is its own affair.
  const folder = model.model_name_or_path === null ? '' : ` --model ${inShell(model.model_name_or_path)}`
  const dataset = isOwnModule(data.dataset) ? ` --dataset ${inShell(data.dataset)}` : ''
  return `npx cutlayer client --server ${url} --id NAME${folder}${dataset}${transport.token_file === null ? '' : ` --token-file ${inShell(transport.token_file)}`}`
}

function inShell(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : JSON.stringify(path)
}

function openToOthers(host: string): UserError {
  return new UserError({
    code: 'INSECURE_BIND',
    what: `the server does not listen on ${host}`,
    why: 'other machines could reach it, and the connection is not encrypted',
    fix: 'listen on 127.0.0.1 and forward the port through ssh, or add --insecure on a network that you trust',
  })
}

export const commands: readonly CommandDefinition[] = [serverCommand]
