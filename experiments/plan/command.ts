/**
 * @file `cutlayer plan`: what a run would take, before anything is downloaded or trained.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { defineCommand, hubAccess } from '../../shared/command-line/index.node.js'
import { loadConfigSeries } from '../../shared/config/load.node.js'
import { planAtHand } from './at-hand.js'
import { calibrate } from './calibrate.js'
import { planText } from './text.js'
import { estimateRound } from './time.js'

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
    const { plan, why } = await planAtHand(config, hubAccess(context))
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
