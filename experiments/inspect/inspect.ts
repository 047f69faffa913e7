/**
 * @file `cutlayer inspect`: a run's rounds, clients, traffic and curves.
 */
import { z } from 'zod'
import { defineCommand, integerFlag, type CommandContext } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { findRun, readRun, readSteps, type Run } from '../runs.js'
import { glyphsOf, type Glyphs } from './curve.js'
import { followRun, lastProcess, type FollowEnd, QUIET_MS } from './follow.js'
import { eventText, liveLines, newLive, roundFacts, roundText, stepText, withNews } from './live.js'
import { reportOf, reportText, type Selection } from './report.js'

export const DEFAULT_OUTPUT_DIR = 'runs'

export const inspectCommand = defineCommand({
  usage: 'inspect [run]',
  summary: "show a run's rounds, clients, traffic and curves; the newest run, unless a folder, a name or an id is given",
  example:
    'cutlayer inspect\ncutlayer inspect quickstart --round 3\ncutlayer inspect a1b2c3 --client client-0 --format json\ncutlayer inspect --follow',
  flags: {
    '--round <n>': 'this round only (0: before training)',
    '--client <id>': 'this client only',
    '--follow': 'show a run while it goes on, and end when it ends',
    '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})`,
  },
  options: z.object({
    round: integerFlag(0).optional(),
    client: z.string().optional(),
    follow: z.boolean().default(false),
    outputDir: z.string().default(DEFAULT_OUTPUT_DIR),
  }),
  async run(context, [name], { outputDir, follow, ...selection }) {
    if (follow && selection.round !== undefined) throw followOrRound()
    const reference = await findRun(name, outputDir)
    const glyphs = glyphsOf(process.env, process.platform)
    const followed = follow ? await showLive(context, await readRun(reference), selection.client, glyphs) : null
    const run = await readRun(reference)
    refuseWhatIsNotThere(run, selection)
    const { steps, warnings } = selection.round === undefined ? { steps: [], warnings: [] } : await readSteps(run)
    const told = followed === null || followed === 'over' ? [] : [howItEnded(run, followed)]
    const report = reportOf({ ...run, warnings: [...run.warnings, ...warnings, ...told] }, selection, steps)
    const text = reportText(report, selection, glyphs, (words) => context.paint('bold', words))
    return { data: followed === null ? report : { ...report, followed }, text }
  },
})

/** Shows a run until it ends: drawn in place on a terminal, else a line for each event, step and round. */
async function showLive(context: CommandContext, run: Run, client: string | undefined, glyphs: Glyphs): Promise<FollowEnd> {
  let live = newLive(run, run.config)
  context.event({ event: 'follow', run_dir: run.folder, id: run.id, name: run.name }, `following ${run.folder}`)
  const panel = context.panel()
  const isAsked = (line: { client?: string | null | undefined }): boolean => client === undefined || line.client === client
  let over = -1
  try {
    return await followRun({
      folder: run.folder,
      metadata: run.metadata,
      onLook(news) {
        live = withNews(live, news)
        if (panel !== null) return panel.show((columns) => liveLines(live, columns, glyphs))
        for (const event of news.events.filter(isAsked)) context.event(event, eventText(event))
        // Of rounds that were over before anyone looked, the line says enough.
        if (over < 0) over = live.rounds.at(-1)?.round ?? 0
        for (const step of news.steps.filter((line) => line.round > over && isAsked(line)))
          context.event({ event: 'step', ...step }, stepText(step))
        for (const line of news.rounds) context.event({ event: 'round', ...roundFacts(line) }, roundText(line))
      },
      onQuiet(process) {
        const known =
          process === 'alive'
            ? `the process ${lastProcess(run.metadata)} still lives`
            : 'whether its process lives cannot be told from here'
        context.warn(`nothing was written for ${QUIET_MS / 60_000} minute; ${known}`)
      },
    })
  } finally {
    panel?.finish()
  }
}

function howItEnded({ metadata }: Run, end: Exclude<FollowEnd, 'over'>): string {
  return end === 'died'
    ? `the run did not end: its process ${lastProcess(metadata)} is gone, and left no summary`
    : 'nothing was written for long: the run may have died, or its machine does not answer'
}

function followOrRound(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear what to show',
    why: '--follow shows the round under way, and --round another one',
    fix: 'leave one of the two out',
  })
}

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
