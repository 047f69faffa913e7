/**
 * @file `cutlayer server`: the edge server alone; clients join it from other terminals or machines.
 */
import { z } from 'zod'
import { defineCommand, integerFlag, type CommandDefinition } from '../shared/command-line/index.node.js'
import { loadConfig } from '../shared/config/load.node.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { isLoopback } from './hosts.js'
import { RunReporter } from './reporter.js'
import { runResult, runSummary } from './run-summary.js'
import { serveRun } from './serve.js'
import { commands as tokenCommands } from './tokens/command.js'

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
    const reporter = new RunReporter(context, config)
    if (!isLoopback(host) && insecure)
      context.warn(`anybody who reaches ${host} can read the traffic${config.transport.token_file === null ? ' and join' : ''}`)
    context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
    try {
      const { url, hosted, conclude } = await serveRun({
        ...{ config, host, port, insecure, watcher: reporter, signal: context.signal },
        argv: ['server', path, ...overrides],
        onDownload: (event) => reporter.download(event),
      })
      reporter.start(hosted)
      const line = clientLine(config, url)
      context.event(
        { event: 'listening', url, client: line },
        `listening on ${url}, waiting for ${clientCount(config) === 1 ? 'a client; start it with' : `${clientCount(config)} clients; start each with an id of its own:`}\n  ${line}`,
      )
      await conclude()
      const result = runResult(hosted)
      return { data: result, text: runSummary(context, result) }
    } finally {
      reporter.finish()
    }
  },
})

/** What to type for a client; words in capitals are for whoever types. */
function clientLine({ data, transport }: Config, url: string): string {
  const dataset = isOwnModule(data.dataset) ? ` --dataset ${inShell(data.dataset)}` : ''
  return `npx cutlayer client --server ${url} --id NAME${dataset}${transport.token_file === null ? '' : ` --token-file ${inShell(transport.token_file)}`}`
}

function inShell(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : JSON.stringify(path)
}

export const commands: readonly CommandDefinition[] = [serverCommand, ...tokenCommands]
