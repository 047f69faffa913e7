/**
 * @file `cutlayer run`: one whole experiment, or one for each seed of the config.
 */
import { z } from 'zod'
import { RunReporter } from '../server/reporter.js'
import { runSummary } from '../server/run-summary.js'
import { defineCommand, type CommandContext, type CommandResult } from '../shared/command-line/index.node.js'
import { loadConfigSeries } from '../shared/config/load.node.js'
import type { Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { openTraceFile, type TraceSummary } from '../shared/trace-file.node.js'
import { runExperiment } from './experiment.js'
import { runSeeds } from './seeds/run-seeds.js'

const notYet = (flag: string): UserError =>
  new UserError({
    code: 'CONFIG_NOT_BUILT',
    what: `${flag} is not built yet`,
    why: 'this version of cutlayer does not have it',
    fix: `leave ${flag} out`,
  })

export const runCommand = defineCommand({
  usage: 'run <config> [overrides...]',
  summary: 'one whole experiment: starts the server and its clients, and trains; of several seeds, one for each',
  example:
    'cutlayer run experiments/configs/quickstart.yaml federation.num_rounds=2 transport.kind=memory\ncutlayer run experiments/configs/quickstart.yaml train.seed=[1,2,3]',
  flags: {
    '--resume <run>': 'go on with an interrupted run (not built yet)',
    '--trace <file>': 'write what the run does when, as a Chrome trace (for https://ui.perfetto.dev)',
  },
  options: z.object({ resume: z.string().optional(), trace: z.string().optional() }),
  graceful: true,
  async run(context: CommandContext, [path, ...overrides], { resume, trace }) {
    if (resume !== undefined) throw notYet('--resume')
    const { configs, isList } = await loadConfigSeries(path, overrides)
    if (isList && trace !== undefined) throw oneRunATrace()
    const argv = ['run', path, ...overrides]
    context.event({ event: 'notice', text: whatLeaves(configs[0]) }, whatLeaves(configs[0]))
    return isList ? runSeeds(context, configs, argv) : runOne(context, configs[0], argv, trace)
  },
})

async function runOne(context: CommandContext, config: Config, argv: readonly string[], tracePath?: string): Promise<CommandResult> {
  const trace = tracePath === undefined ? undefined : openTraceFile(tracePath, 'server')
  const reporter = new RunReporter(context, config)
  let hasStarted = false
  try {
    const result = await runExperiment(config, {
      argv,
      watcher: reporter,
      onDownload: (event) => reporter.download(event),
      signal: context.signal,
      urgent: context.urgent,
      onStart(hosted) {
        hasStarted = true
        reporter.start(hosted)
      },
      ...(trace ? { trace } : {}),
    })
    if (!trace) return { data: result, text: runSummary(context, result) }
    const traced = trace.finish()
    if (traced.cut_off !== undefined) context.warn(`the trace is cut off: ${traced.cut_off}`)
    return { data: { ...result, trace: traced }, text: `${runSummary(context, result)}\n${traceText(traced)}` }
  } finally {
    reporter.finish()
    // Where there was nothing to trace, an empty picture would only be in the way.
    if (hasStarted) trace?.finish()
    else trace?.discard()
  }
}

/** A line that tells where a trace is, and what comes of it. */
export function traceText({ file, engine_busy_share: share }: TraceSummary): string {
  const busy = share === null ? 'how busy the engine was cannot be told here' : `engine busy share ${(100 * share).toFixed(1)}%`
  return `trace     ${file} (open it in https://ui.perfetto.dev); ${busy}`
}

function oneRunATrace(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'a trace shows one run',
    why: 'train.seed is a list, which makes a run of each seed',
    fix: 'leave --trace out, or give one seed: train.seed=1',
  })
}
