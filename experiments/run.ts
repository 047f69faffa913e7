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
  flags: { '--resume <run>': 'go on with an interrupted run (not built yet)', '--trace <file>': 'write a Chrome trace (not built yet)' },
  options: z.object({ resume: z.string().optional(), trace: z.string().optional() }),
  graceful: true,
  async run(context: CommandContext, [path, ...overrides], { resume, trace }) {
    if (resume !== undefined) throw notYet('--resume')
    if (trace !== undefined) throw notYet('--trace')
    const { configs, isList } = await loadConfigSeries(path, overrides)
    const argv = ['run', path, ...overrides]
    context.event({ event: 'notice', text: whatLeaves(configs[0]) }, whatLeaves(configs[0]))
    return isList ? runSeeds(context, configs, argv) : runOne(context, configs[0], argv)
  },
})

async function runOne(context: CommandContext, config: Config, argv: readonly string[]): Promise<CommandResult> {
  const reporter = new RunReporter(context, config)
  try {
    const result = await runExperiment(config, {
      argv,
      watcher: reporter,
      onDownload: (event) => reporter.download(event),
      signal: context.signal,
      onStart: (hosted) => reporter.start(hosted),
    })
    return { data: result, text: runSummary(context, result) }
  } finally {
    reporter.finish()
  }
}
