/**
 * @file `cutlayer run`: one whole experiment, or one for each seed of the config.
 */
import { z } from 'zod'
import type { HostedRun } from '../server/host.js'
import { RunReporter } from '../server/reporter.js'
import { configOperands, neededConfig, openRunToResume } from '../server/resume/command-line.js'
import { resumeHint, type ResumeHint } from '../server/resume/hint.js'
import type { InterruptedRun } from '../server/resume/interrupted-run.js'
import { runSummary } from '../server/run-summary.js'
import { defineCommand, type CommandContext, type CommandResult } from '../shared/command-line/index.node.js'
import { loadConfigSeries } from '../shared/config/load.node.js'
import type { Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { whatLeaves } from '../shared/what-leaves.js'
import { openTraceFile, type TraceSummary } from '../shared/trace-file.node.js'
import { runExperiment } from './experiment.js'
import { runSeeds } from './seeds/run-seeds.js'

export const runCommand = defineCommand({
  usage: 'run [config] [overrides...]',
  summary: 'one whole experiment: starts the server and its clients, and trains; of several seeds, one for each',
  example:
    'cutlayer run experiments/configs/quickstart.yaml federation.num_rounds=2 transport.kind=memory\ncutlayer run experiments/configs/quickstart.yaml train.seed=[1,2,3]\ncutlayer run --resume quickstart',
  flags: {
    '--resume <run>': 'go on with a run that was interrupted (its folder, name or id); without a config with its own',
    '--trace <file>': 'write what the run does when, as a Chrome trace (for https://ui.perfetto.dev)',
  },
  options: z.object({ resume: z.string().optional(), trace: z.string().optional() }),
  graceful: true,
  async run(context: CommandContext, operands, { resume: reference, trace }) {
    const given = configOperands(operands)
    if (reference !== undefined)
      return goOn(context, await openRunToResume(reference, given), ['run', ...operands, '--resume', reference], trace)
    const { path, overrides } = neededConfig(given, 'run')
    const { configs, isList } = await loadConfigSeries(path, overrides)
    if (isList && trace !== undefined) throw oneRunATrace()
    const argv = ['run', ...operands]
    context.event({ event: 'notice', text: whatLeaves(configs[0]) }, whatLeaves(configs[0]))
    return isList ? runSeeds(context, configs, argv) : runOne(context, configs[0], { argv, tracePath: trace })
  },
})

async function goOn(context: CommandContext, resume: InterruptedRun, argv: readonly string[], tracePath?: string): Promise<CommandResult> {
  const { config } = resume
  try {
    context.event({ event: 'notice', text: whatLeaves(config) }, whatLeaves(config))
    return await runOne(context, config, { argv, tracePath, resume })
  } finally {
    resume.lock.release()
  }
}

interface OneRun {
  readonly argv: readonly string[]
  readonly tracePath?: string | undefined
  readonly resume?: InterruptedRun
}

async function runOne(context: CommandContext, config: Config, { argv, tracePath, resume }: OneRun): Promise<CommandResult> {
  const trace = tracePath === undefined ? undefined : openTraceFile(tracePath, 'server')
  const reporter = new RunReporter(context, config)
  let hosted: HostedRun | null = null
  const hint = (): ResumeHint | null => hosted && resumeHint(hosted, config.federation.num_rounds, 'run')
  try {
    const ended = await runExperiment(config, {
      argv,
      watcher: reporter,
      onDownload: (event) => reporter.download(event),
      signal: context.signal,
      urgent: context.urgent,
      onStart(run) {
        hosted = run
        reporter.start(run)
      },
      ...(trace ? { trace } : {}),
      ...(resume ? { resume } : {}),
    })
    const resumable = context.signal.aborted ? hint() : null
    const result = resumable ? { ...ended, resume: resumable } : ended
    const text = runSummary(context, result, config.federation.num_rounds)
    if (!trace) return { data: result, text }
    const traced = trace.finish()
    if (traced.cut_off !== undefined) context.warn(`the trace is cut off: ${traced.cut_off}`)
    return { data: { ...result, trace: traced }, text: `${text}\n${traceText(traced)}` }
  } catch (error) {
    const resumable = hint()
    if (resumable) context.event({ event: 'resumable', ...resumable }, `to go on with the run: ${resumable.command}`)
    throw error
  } finally {
    reporter.finish()
    // Where there was nothing to trace, an empty picture would only be in the way.
    if (hosted !== null) trace?.finish()
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
