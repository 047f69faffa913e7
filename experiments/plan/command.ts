/**
 * @file `cutlayer plan`: what a run would take, before anything is downloaded or trained.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { loadClientRows } from '../../datasets/load.js'
import { defineCommand, hubAccess } from '../../shared/command-line/index.node.js'
import { loadConfigSeries } from '../../shared/config/load.node.js'
import { clientCount, type Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { checkRowsFit } from '../../shared/model/fit.js'
import type { ClientRows } from '../../shared/train/rows.js'
import { packageVersion } from '../../shared/version.node.js'
import { calibrate } from './calibrate.js'
import { openPlannedModel, type PlannedModel } from './model.js'
import { makePlan } from './plan.js'
import { planText } from './text.js'
import { estimateRound } from './time.js'

/** The rows of more are not read: those of the first stand for the others'. */
const MOST_CLIENTS_READ = 8
/** Of `counted` in the envelope. */
const MOST_ROUNDS_LISTED = 100

const BANDWIDTH_UNITS = { kbit: 1e3, mbit: 1e6, gbit: 1e9 } as const
const EXPECTED_BANDWIDTH = 'a rate such as 10mbit, 500kbit or 1gbit'

/** Bits a second. */
const bandwidthFlag = z
  .string(EXPECTED_BANDWIDTH)
  .regex(/^\d{1,9}(\.\d{1,9})?(kbit|mbit|gbit)$/i, EXPECTED_BANDWIDTH)
  .transform((text) => Number.parseFloat(text) * BANDWIDTH_UNITS[text.slice(-4).toLowerCase() as keyof typeof BANDWIDTH_UNITS])
  .refine((bits) => bits > 0, EXPECTED_BANDWIDTH)

export const planCommand = defineCommand({
  usage: 'plan <config> [overrides...]',
  summary: 'what a run would take, before anything is downloaded or trained: memory per node, bytes and time per round',
  example: 'cutlayer plan experiments/configs/quickstart.yaml\ncutlayer plan my.yaml split.cut_layer=4 --bandwidth 10mbit --format json',
  flags: { '--bandwidth <rate>': "of each client's link, where clients are on machines of their own, such as 10mbit [100mbit]" },
  options: z.object({ bandwidth: bandwidthFlag.default(100e6) }),
  async run(context, [path, ...overrides], { bandwidth }) {
    // Runs of several seeds take the same each.
    const { configs } = await loadConfigSeries(path!, overrides)
    const [config] = configs
    const { model_name_or_path: name, revision } = config.model
    const model = await openPlannedModel(name, { revision, hub: hubAccess(context) })
    const { rows, why } = await rowsAtHand(config, model)
    const plan = makePlan({ config, model, rows, software: `cutlayer ${packageVersion()}` })
    const threads = config.model.threads ?? availableParallelism()
    const calibration = await calibrate(config.model.engine, threads)
    const time = estimateRound(plan.round_flops, plan.round_traffic, {
      clients: plan.clients,
      flopsPerSecond: calibration.flops_per_second,
      bitsPerSecond: bandwidth,
    })
    const { counted, ...facts } = plan
    const data = {
      ...facts,
      runs: configs.length,
      tokens: { ...plan.tokens, reason: why },
      counted: counted.slice(0, MOST_ROUNDS_LISTED),
      time: { is_estimate: true, ...time, bandwidth_bits_per_second: bandwidth, calibration },
    }
    const each = configs.length === 1 ? '' : `each of the ${configs.length} runs, one for each seed, takes as much as this:\n\n`
    return { data, text: each + planText(data, path!, (text) => context.paint('bold', text)) }
  },
})

/**
 * The rows of the run's clients, or of the first of them; none, and why, where they or the tokenizer are not here.
 * @throws UserError what is wrong with rows that are here.
 */
async function rowsAtHand(
  config: Config,
  model: PlannedModel,
): Promise<{ readonly rows: readonly ClientRows[]; readonly why: string | null }> {
  const { data, train, split, federation } = config
  if (model.tokenizer === null) return { rows: [], why: 'the tokenizer of the model is not here' }
  if (data.dataset !== null && data.dataset !== 'sotu') return { rows: [], why: 'the rows come from code, which a plan does not run' }
  const { tokenizer } = model
  const count = federation.num_clients
  const isWhole = split.topology === 'centralized'
  const indices = Array.from({ length: Math.min(MOST_CLIENTS_READ, clientCount(config)) }, (_, index) => index)
  const rows: ClientRows[] = []
  try {
    for (const index of indices) {
      const share = isWhole ? { part: null, parts: count } : { part: { index, count } }
      rows.push((await loadClientRows({ data, seed: train.seed, tokenizer, ...share })).rows)
    }
  } catch (error) {
    if (error instanceof UserError && error.code === 'DATA_NOT_FOUND') return { rows: [], why: `${error.what}: ${error.why}` }
    throw error
  }
  for (const { train: trainRows, evaluation } of rows) checkRowsFit([...trainRows, ...evaluation], model.architecture, model.name)
  return { rows, why: rows.length < clientCount(config) ? `the rows of the first ${rows.length} clients stand for all` : null }
}
