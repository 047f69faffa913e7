/**
 * @file What came out of a sweep: each setting's loss and bytes beside the baseline's, in pairs of the same seed.
 */
import type { ErrorReport } from '../../shared/errors.js'
import { outcomeOf } from '../outcome.js'
import type { Run } from '../runs.js'
import { spreadOver } from '../seeds/spread.js'
import { relativeDifference, type Interval } from './paired.js'

/** One run, as a sweep looks at it. Losses are nats per scored token. */
export interface SweepRun {
  readonly setting: string
  readonly seed: number
  /** complete, interrupted or failed. */
  readonly status: string
  /** null if it failed before it had a folder. */
  readonly run_dir: string | null
  readonly eval_loss: number | null
  readonly train_loss: number | null
  /** Payload of the cut's tensors, with targets and masks: activations and gradients of training steps, both ways. */
  readonly cut_bytes: number | null
  readonly uplink_bytes: number | null
  readonly downlink_bytes: number | null
  readonly seconds: number | null
  /** Of a run that failed. */
  readonly error: ErrorReport | null
}

/** A setting over its complete runs: means; differences are over the seeds that the baseline has completed too. */
export interface SettingOutcome {
  readonly setting: string
  readonly complete: number
  readonly eval_loss: number | null
  readonly train_loss: number | null
  readonly cut_bytes: number | null
  readonly uplink_bytes: number | null
  readonly downlink_bytes: number | null
  readonly seconds: number | null
  /** How many times fewer bytes the cut's tensors took than the baseline's. */
  readonly cut_factor: number | null
  /** Relative to the baseline's: 0.01 is 1% more. */
  readonly eval_loss_difference: Interval | null
}

const MEASURES = ['eval_loss', 'train_loss', 'cut_bytes', 'uplink_bytes', 'downlink_bytes', 'seconds'] as const

/** Pure: of what was read of the run's folder. */
export function sweepRunOf(setting: string, seed: number, run: Run, error: ErrorReport | null = null): SweepRun {
  const { status: told, run_dir, eval_loss, train_loss, uplink_bytes, downlink_bytes, seconds } = outcomeOf(run)
  const cut = run.traffic.filter(({ kind }) => kind === 'activations' || kind === 'gradients')
  const cut_bytes = cut.reduce((sum, { payload_bytes }) => sum + payload_bytes, 0)
  const status = error === null ? told : 'failed'
  return { setting, seed, status, error, run_dir, eval_loss, train_loss, cut_bytes, uplink_bytes, downlink_bytes, seconds }
}

/** Pure. @param settings in the order of the sweep's file */
export function sweepOutcomes(runs: readonly SweepRun[], settings: readonly string[], baseline: string): SettingOutcome[] {
  const completeOf = (setting: string): SweepRun[] => runs.filter((run) => run.setting === setting && run.status === 'complete')
  const against = new Map(completeOf(baseline).map((run) => [run.seed, run]))
  return settings.map((setting) => {
    const complete = completeOf(setting)
    const pairs = complete.flatMap((run) => {
      const other = against.get(run.seed)
      return other ? [[run, other] as const] : []
    })
    const { mean } = spreadOver(complete, MEASURES)
    const losses = pairs.flatMap(([run, other]) =>
      run.eval_loss === null || other.eval_loss === null ? [] : [[run.eval_loss, other.eval_loss] as const],
    )
    const bytes = pairs.reduce((sum, [run, other]) => [sum[0] + (run.cut_bytes ?? 0), sum[1] + (other.cut_bytes ?? 0)], [0, 0])
    return {
      setting,
      complete: complete.length,
      ...mean,
      cut_factor: bytes[0] > 0 ? bytes[1] / bytes[0] : null,
      eval_loss_difference: setting === baseline ? null : relativeDifference(losses),
    }
  })
}
