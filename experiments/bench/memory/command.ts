/**
 * @file `cutlayer bench memory`: what a server and its clients take, measured, beside what `plan` says and what the whole model takes.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { defineCommand, hubAccess, integerFlag, wordFlag, type CommandContext } from '../../../shared/command-line/index.node.js'
import { loadConfig } from '../../../shared/config/load.node.js'
import { UserError } from '../../../shared/errors.js'
import { beforeExit } from '../../../shared/exit.node.js'
import { planAtHand } from '../../plan/at-hand.js'
import { listRuns, readRun } from '../../runs.js'
import { measureRun } from './measure.js'
import { memoryReport, memoryText, type MemoryReport } from './report.js'
import { SHAPE_NAMES } from '../shapes.js'
import { writeRun } from './workplace.js'

const Options = z.object({
  shape: wordFlag(SHAPE_NAMES).optional(),
  model: z.string().min(1, 'a folder or a hub id').optional(),
  cut: integerFlag(0, 1024).optional(),
  clients: integerFlag(1, 64).optional(),
  batch: integerFlag(1, 1024).optional(),
  seq: integerFlag(2, 1024).optional(),
  precision: wordFlag(['fp32', 'q8']).optional(),
  threads: integerFlag(1, 1024).optional(),
})
type Options = z.infer<typeof Options>

export const benchMemoryCommand = defineCommand({
  usage: 'bench memory [config] [overrides...]',
  summary: "measure the private memory of a run's server and clients, beside the plan's and that of the whole model in one process",
  example: 'cutlayer bench memory --shape gpt2 --cut 2\ncutlayer bench memory experiments/configs/quickstart.yaml federation.num_rounds=1',
  flags: {
    '--shape <name>': 'size of the model, whose weights are random: small, gpt2, gpt2-medium or smollm2-135m [gpt2]',
    '--model <model>': 'measure this model, a folder or a hub id, in place of a shape',
    '--cut <blocks>': 'blocks on the clients [2]',
    '--clients <count>': 'client processes [2]',
    '--batch <rows>': 'rows in a batch [4]',
    '--seq <tokens>': 'tokens in a row [128]',
    '--precision <name>': 'of the frozen weights: fp32 or q8 [fp32]',
    '--threads <count>': 'threads that compute in each process [2]',
  },
  options: Options,
  async run(context, [path, ...overrides], options) {
    if (process.platform !== 'linux') throw onlyOnLinux()
    if (path !== undefined) refuseSize(options)
    const folder = await mkdtemp(join(tmpdir(), `cutlayer-bench-memory-${process.pid}-`))
    const cleanUp = (): Promise<void> => rm(folder, { recursive: true, force: true })
    const takeBack = beforeExit(cleanUp)
    try {
      const report = await measure(context, folder, path ?? null, overrides, options)
      return { data: report, text: memoryText(report, (text) => context.paint('bold', text)) }
    } finally {
      await cleanUp()
      takeBack()
    }
  },
})

async function measure(
  context: CommandContext,
  folder: string,
  given: string | null,
  changes: readonly string[],
  { shape, model, cut = 2, clients = 2, batch = 4, seq = 128, precision = 'fp32', threads = 2 }: Options,
): Promise<MemoryReport> {
  const bar = context.progress('preparing', 0)
  bar.update(0)
  const source = model === undefined ? { shape: shape ?? 'gpt2' } : { model }
  const path = given ?? (await writeRun(folder, { source, cut, clients, batch, seq, precision }))
  const own = ['transport.kind=socket', `output.output_dir=${join(folder, 'runs')}`, 'output.run_name=memory', `model.threads=${threads}`]
  const overrides = [...changes, ...own]
  const config = await loadConfig(path, overrides)
  const { plan } = await planAtHand(config, hubAccess(context))
  bar.finish()
  const measured = await measureRun({
    folder,
    configPath: path,
    overrides,
    config,
    threads,
    whole: true,
    signal: context.signal,
    onStart: (name) => context.event({ event: 'process', name }, `measuring: ${name}`),
  })
  const [run] = await listRuns(join(folder, 'runs'))
  const { traffic } = await readRun(run!)
  const name = given === null ? { ...('shape' in source ? source : { model: plan.model.name }) } : { config: given }
  return memoryReport({ name, config, plan, measured, traffic, threads })
}

function refuseSize({ threads: _, ...size }: Options): void {
  const flag = Object.entries(size).find(([, value]) => value !== undefined)?.[0]
  if (flag === undefined) return
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear what to measure',
    why: `a config and --${flag} are both given`,
    fix: 'say it in the config, or by overrides such as split.cut_layer=2 after it',
  })
}

function onlyOnLinux(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'bench memory does not run here',
    why: `private memory is read from /proc, as Linux has it, and this is ${process.platform}`,
    fix: 'measure on Linux; `cutlayer plan` says anywhere what a run takes',
  })
}
