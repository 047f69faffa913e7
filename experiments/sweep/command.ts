/**
 * @file `cutlayer sweep`: one config with several settings, each over several seeds, and how they compare in pairs.
 */
import { z } from 'zod'
import { RunReporter } from '../../server/reporter.js'
import { byteSize, defineCommand, duration, type CommandContext } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { measured, table, type Column } from '../inspect/table.js'
import { sweepOutcomes, type SettingOutcome, type SweepRun } from './outcome.js'
import type { Interval } from './paired.js'
import { readSweep } from './plan.js'
import { runSweep } from './run-sweep.js'

export const sweepCommand = defineCommand({
  usage: 'sweep <file> [overrides...]',
  summary: 'one config with several settings, each over the same seeds: runs what is not there yet, and compares them in pairs',
  example:
    'cutlayer sweep experiments/configs/codecs.yaml\ncutlayer sweep experiments/configs/codecs.yaml train.seed=[1] federation.num_rounds=1',
  options: z.object({}),
  graceful: true,
  async run(context, [path, ...overrides]) {
    const plan = await readSweep(path!, overrides)
    const count = plan.settings.reduce((sum, { configs }) => sum + configs.length, 0)
    let reporter: RunReporter | null = null
    try {
      const runs = await runSweep(plan, {
        argv: ['sweep', path!, ...overrides],
        signal: context.signal,
        urgent: context.urgent,
        watch(setting, config, index) {
          const { seed } = config.train
          context.event(
            { event: 'setting', setting, seed, index, count },
            context.paint('bold', `${setting}, seed ${seed} (${index + 1} of ${count})`),
          )
          const watcher = (reporter = new RunReporter(context, config))
          return { watcher, onStart: (hosted) => watcher.start(hosted) }
        },
        onRun(run, wasThere) {
          reporter?.finish()
          reporter = null
          context.event({ event: 'setting-over', ...run, was_there: wasThere }, endOf(run, wasThere))
        },
      })
      const settings = sweepOutcomes(
        runs,
        plan.settings.map(({ name }) => name),
        plan.baseline,
      )
      const error = failureOf(runs)
      return {
        data: { baseline: plan.baseline, settings, runs },
        text: sweepText(context, plan.baseline, settings),
        ...(error ? { error } : {}),
      }
    } finally {
      ;(reporter as RunReporter | null)?.finish()
    }
  },
})

function endOf({ setting, seed, status, eval_loss }: SweepRun, wasThere: boolean): string {
  const loss = eval_loss === null ? '' : `, held-out loss ${eval_loss.toFixed(4)}`
  return `${setting}, seed ${seed}: ${wasThere ? 'was there already' : status}${loss}`
}

function failureOf(runs: readonly SweepRun[]): UserError | null {
  const failed = runs.filter(({ status }) => status === 'failed')
  const first = failed[0]?.error
  if (!first) return null
  const names = failed.map(({ setting, seed }) => `${setting} with seed ${seed}`).join(', ')
  const fix = `${first.fix}; then start the sweep again: what is complete is not made again`
  return new UserError({ ...first, what: `${failed.length} of the sweep's ${runs.length} runs failed (${names}): ${first.what}`, fix })
}

function sweepText(context: CommandContext, baseline: string, settings: readonly SettingOutcome[]): string {
  return [
    table(COLUMNS, settings, (text) => context.paint('bold', text)),
    `means over complete runs; loss: held-out, nats per token; difference: to ${baseline} over pairs of the same seed, with its 95% interval;`,
    `cut: payload of activations and gradients in training, both ways; fewer: how many times fewer bytes than ${baseline}`,
  ].join('\n')
}

/** `+0.12% (0.03% to 0.21%)`. */
export function intervalText(interval: Interval | null): string {
  if (interval === null) return '-'
  const percent = (value: number): string => `${value < 0 ? '-' : '+'}${(100 * Math.abs(value)).toFixed(2)}%`
  const { mean, low, high } = interval
  return low === null || high === null ? percent(mean) : `${percent(mean)} (${percent(low)} to ${percent(high)})`
}

const bytes = (value: number | null): string => (value === null ? '-' : byteSize(Math.round(value)))

const COLUMNS: readonly Column<SettingOutcome>[] = [
  { title: 'setting', cell: ({ setting }) => setting },
  { title: 'runs', cell: ({ complete }) => String(complete), align: 'right' },
  { title: 'loss', cell: ({ eval_loss }) => measured(eval_loss, 4), align: 'right' },
  { title: 'difference', cell: ({ eval_loss_difference }) => intervalText(eval_loss_difference), align: 'right' },
  { title: 'cut', cell: ({ cut_bytes }) => bytes(cut_bytes), align: 'right' },
  { title: 'fewer', cell: ({ cut_factor }) => (cut_factor === null ? '-' : `${cut_factor.toFixed(2)}x`), align: 'right' },
  { title: 'up', cell: ({ uplink_bytes }) => bytes(uplink_bytes), align: 'right' },
  { title: 'down', cell: ({ downlink_bytes }) => bytes(downlink_bytes), align: 'right' },
  { title: 'time', cell: ({ seconds }) => (seconds === null ? '-' : duration(seconds)), align: 'right' },
]
