/**
 * @file `cutlayer server`: the edge server alone; clients join it from other terminals or machines.
 */
import { z } from 'zod'
import { defineCommand, integerFlag, type CommandDefinition } from '../shared/command-line/index.node.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { whatLeaves } from '../shared/what-leaves.js'
import type { HostedRun } from './host.js'
import { isLoopback } from './hosts.js'
import { RunReporter } from './reporter.js'
import { resumeHint, type ResumeHint } from './resume/hint.js'
import { configOperands, loadConfigOf, openRunToResume } from './resume/command-line.js'
import { serviceRun, type ServiceRun } from './resume/or-start.js'
import { runResult, runSummary } from './run-summary.js'
import { openings, serveRun, type ServedRun } from './serve.js'
import { commands as tokenCommands } from './tokens/command.js'

const LOOPBACK = '127.0.0.1'
const DEFAULT_PORT = 7700
const NAMES = 'names of hosts, separated by commas, such as edge.example,edge'

const NamesFlag = z
  .string(NAMES)
  .regex(/^[a-z0-9._-]+(,[a-z0-9._-]+)*$/i, NAMES)
  .transform((text) => text.split(','))

const serverCommand = defineCommand({
  usage: 'server [config] [overrides...]',
  summary: 'the edge server alone; prints the line that a client needs',
  example:
    'cutlayer server experiments/configs/quickstart.yaml --port 7700 federation.num_clients=2\ncutlayer server --resume quickstart --port 7700',
  flags: {
    '--resume <run>': 'go on with a run that was interrupted (its folder, name or id); without a config with its own',
    '--resume-or-start':
      "for services: go on with the newest run of the config's name (output.run_name), or begin it; of one that is over, say so",
    '--host <address>': 'address to listen on (default 127.0.0.1)',
    '--port <n>': 'port to listen on (default 7700; 0: any free one)',
    '--insecure': 'allow an address that other machines reach without transport.tls, without transport.token_file, or both',
    '--names <names>': 'names by which the server is asked, such as edge.example,edge; the first is for the line that clients need',
  },
  options: z.object({
    resume: z.string().optional(),
    resumeOrStart: z.boolean().default(false),
    host: z.string().default(LOOPBACK),
    port: integerFlag(0, 65535).default(DEFAULT_PORT),
    insecure: z.boolean().default(false),
    names: NamesFlag.optional(),
  }),
  graceful: true,
  async run(context, operands, { resume: reference, resumeOrStart, host, port, insecure, names }) {
    if (reference !== undefined && resumeOrStart) throw notBothResumes()
    const given = configOperands(operands)
    const service = resumeOrStart ? await serviceRun(await loadConfigOf(given, 'server')) : null
    if (service?.state === 'over') return { data: { run_dir: service.folder, finished: true }, text: overText(service) }
    const interrupted =
      service?.state === 'interrupted' ? service.run : reference === undefined ? undefined : await openRunToResume(reference, given)
    const config = interrupted?.config ?? (await loadConfigOf(given, 'server'))
    const reporter = new RunReporter(context, config)
    if (!isLoopback(host) && insecure)
      for (const { danger } of openings(config)) context.warn(`other machines reach ${host}, and ${danger}`)
    context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
    let hosted: HostedRun | null = null
    const flags = [
      ...(host === LOOPBACK ? [] : ['--host', host]),
      ...(port === DEFAULT_PORT ? [] : ['--port', String(port)]),
      ...(insecure ? ['--insecure'] : []),
      ...(names ? ['--names', names.join(',')] : []),
    ]
    const hint = (): ResumeHint | null => hosted && resumeHint(hosted, config.federation.num_rounds, 'server', flags)
    try {
      const served = await serveRun({
        ...{ config, host, port, insecure, names, watcher: reporter, signal: context.signal, urgent: context.urgent },
        resume: interrupted,
        argv: [
          'server',
          ...operands,
          ...(reference === undefined ? [] : ['--resume', reference]),
          ...(resumeOrStart ? ['--resume-or-start'] : []),
        ],
        onDownload: (event) => reporter.download(event),
      })
      const { url, clientNeeds, conclude } = served
      hosted = served.hosted
      reporter.start(hosted)
      const line = clientLine(config, url, clientNeeds)
      context.event(
        { event: 'listening', url, client: line },
        `listening on ${url}, waiting for ${clientCount(config) === 1 ? 'a client; start it with' : `${clientCount(config)} clients; start each with an id of its own:`}\n  ${line}`,
      )
      await conclude()
      const ended = runResult(hosted)
      const resumable = context.signal.aborted ? hint() : null
      const result = resumable ? { ...ended, resume: resumable } : ended
      return { data: result, text: runSummary(context, result, config.federation.num_rounds) }
    } catch (error) {
      const resumable = hint()
      if (resumable) context.event({ event: 'resumable', ...resumable }, `to go on with the run: ${resumable.command}`)
      throw error
    } finally {
      interrupted?.lock.release()
      reporter.finish()
    }
  },
})

function overText({ folder, name }: Extract<ServiceRun, { state: 'over' }>): string {
  return `the run ${name} is over, and there is nothing to go on with: ${folder}\nto begin another, give it another name (output.run_name)`
}

function notBothResumes(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'this server cannot take both --resume and --resume-or-start',
    why: "--resume names a run, and --resume-or-start goes by the config's",
    fix: 'leave one of them out',
  })
}

/** What to type for a client; words in capitals are for whoever types. */
function clientLine({ data, transport }: Config, url: string, { token, ca }: ServedRun['clientNeeds']): string {
  const dataset = isOwnModule(data.dataset) ? ` --dataset ${inShell(data.dataset)}` : ''
  const tokens = { none: '', shared: ` --token-file ${inShell(transport.token_file ?? '')}`, own: ' --token-file NAME.token' }
  return `npx cutlayer client --server ${url} --id NAME${dataset}${tokens[token]}${ca === null ? '' : ` --ca ${inShell(ca)}`}`
}

function inShell(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : JSON.stringify(path)
}

export const commands: readonly CommandDefinition[] = [serverCommand, ...tokenCommands]
