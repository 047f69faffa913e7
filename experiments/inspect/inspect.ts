/**
 * @file `cutlayer inspect`: a run's rounds, clients, traffic and curves.
 */
import { z } from 'zod'
import { defineCommand, integerFlag } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { findRun, readRun, readSteps, type Run } from '../runs.js'
import { glyphsOf } from './curve.js'
import { reportOf, reportText, type Selection } from './report.js'

export const DEFAULT_OUTPUT_DIR = 'runs'

export const inspectCommand = defineCommand({
  usage: 'inspect [run]',
  summary: "show a run's rounds, clients, traffic and curves; the newest run, unless a folder, a name or an id is given",
  example: 'cutlayer inspect\ncutlayer inspect quickstart --round 3\ncutlayer inspect a1b2c3 --client client-0 --format json',
  flags: {
    '--round <n>': 'this round only (0: before training)',
    '--client <id>': 'this client only',
    '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})`,
  },
  options: z.object({ round: integerFlag(0).optional(), client: z.string().optional(), outputDir: z.string().default(DEFAULT_OUTPUT_DIR) }),
  async run(context, [reference], { outputDir, ...selection }) {
    const run = await readRun(await findRun(reference, outputDir))
    refuseWhatIsNotThere(run, selection)
    const { steps, warnings } = selection.round === undefined ? { steps: [], warnings: [] } : await readSteps(run)
    const report = reportOf({ ...run, warnings: [...run.warnings, ...warnings] }, selection, steps)
    const glyphs = glyphsOf(process.env, process.platform)
    return { data: report, text: reportText(report, selection, glyphs, (text) => context.paint('bold', text)) }
  },
})

function refuseWhatIsNotThere(run: Run, { round, client }: Selection): void {
  const clients = [...new Set(run.rounds.flatMap((line) => line.clients.map(({ id }) => id)))].sort()
  if (round !== undefined && !run.rounds.some((line) => line.round === round)) {
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `the run ${run.name} (${run.id}) has no round ${round}`,
      why: run.rounds.length === 0 ? 'no round is over yet' : `its rounds are ${run.rounds[0]!.round} to ${run.rounds.at(-1)!.round}`,
      fix: 'correct --round, or leave it out',
    })
  }
  if (client !== undefined && !clients.includes(client)) {
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `the run ${run.name} (${run.id}) has no client ${client}`,
      why: clients.length === 0 ? 'no round is over yet' : `its clients are ${clients.join(', ')}`,
      fix: 'correct --client, or leave it out',
    })
  }
}
