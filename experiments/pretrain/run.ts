/**
 * @file The pre-training loop: steps under the schedule, the held-out loss from time to time, and the best weights so far.
 */
import { UserError } from '../../shared/errors.js'
import { lossReport, type LossReport } from '../../shared/train/metrics.js'
import { scheduledRate } from '../../shared/train/schedule.js'
import type { F32Tensor, NamedTensors } from '../../shared/tensor.js'
import type { PretrainConfig } from './config.js'
import type { TrainingData } from './data.js'
import type { Evaluation } from './evaluation.js'
import type { WholeModelTrainer } from './trainer.js'
import { windowsOf } from './windows.js'
import { roundedToHalf } from './model-folder.js'

export interface Milestone {
  /** Steps made. */
  readonly step: number
  readonly steps: number
  /** Tokens of the windows so far. */
  readonly tokens: number
  readonly seconds: number
  readonly learningRate: number
  /** Mean of the steps' losses since the milestone before, nats per token. */
  readonly trainLoss: number
  readonly gradientNorm: number
  /** Of the weights rounded to float16, on `evaluation.rows` of the held-out windows. */
  readonly heldOut: LossReport
  readonly isBest: boolean
}

export interface Outcome {
  /** The weights with the lowest held-out loss, rounded to float16. */
  readonly best: NamedTensors
  readonly bestStep: number
  /** Their loss on all held-out windows. */
  readonly heldOut: LossReport
  /** Steps made in all. */
  readonly steps: number
  readonly tokens: number
  readonly seconds: number
}

export interface Programs {
  readonly trainer: WholeModelTrainer
  readonly evaluation: Evaluation
}

export interface RunOptions {
  /** Wall time after which training ends. The schedule then follows the clock and not `train.steps`, so the run cannot be repeated exactly. */
  readonly minutes: number | null
  /** Seconds, from any start. */
  now(): number
  /** Told after each evaluation, before training goes on; `best` is a copy. */
  onMilestone(milestone: Milestone, best: NamedTensors): Promise<void>
}

/**
 * @param weights those that the trainer was opened with.
 * @throws UserError ROUND_FAILED if the loss stops being a number.
 */
export async function pretrain(
  { trainer, evaluation }: Programs,
  weights: ReadonlyMap<string, F32Tensor>,
  { stream, heldOut }: TrainingData,
  config: PretrainConfig,
  { minutes, now, onMilestone }: RunOptions,
): Promise<Outcome> {
  const { train, seed } = config
  const start = now()
  const schedule = {
    type: 'cosine' as const,
    learningRate: train.learning_rate,
    warmupRatio: train.warmup_ratio,
    positions: train.steps,
  }
  const position = (step: number): number => (minutes === null ? step : (train.steps * (now() - start)) / (minutes * 60))
  const sample = spread(heldOut, config.evaluation.rows)
  let best = { weights: roundedToHalf(weights), step: 0, loss: Infinity }
  let step = 0
  let losses: number[] = []

  const milestone = async (learningRate: number, gradientNorm: number): Promise<void> => {
    const rounded = roundedToHalf(weights)
    const report = lossReport(await evaluation.evaluate(sample, rounded, train.batch_size))
    const isBest = report.loss !== null && report.loss < best.loss
    if (isBest) best = { weights: rounded, step, loss: report.loss ?? Infinity }
    const trainLoss = losses.reduce((sum, loss) => sum + loss, 0) / losses.length
    losses = []
    const tokens = step * train.batch_size * train.window_tokens
    const fields = { step, steps: train.steps, tokens, seconds: now() - start, learningRate, trainLoss, gradientNorm }
    await onMilestone({ ...fields, heldOut: report, isBest }, best.weights)
  }

  for (let at = position(0); at < train.steps;) {
    const rate = scheduledRate(schedule, at)
    const { loss, gradientNorm } = await trainer.step(windowsOf(stream, seed, step, train.batch_size, train.window_tokens), rate)
    if (!Number.isFinite(loss)) throw diverged(step)
    losses.push(loss)
    step++
    at = position(step)
    if (at >= train.steps || step % config.evaluation.every_steps === 0) await milestone(rate, gradientNorm)
  }
  const seconds = now() - start
  const report = lossReport(await evaluation.evaluate(heldOut, best.weights, train.batch_size))
  const tokens = step * train.batch_size * train.window_tokens
  return { best: best.weights, bestStep: best.step, heldOut: report, steps: step, tokens, seconds }
}

/** At most `count` of the rows, evenly spread. */
function spread<Row>(rows: readonly Row[], count: number): Row[] {
  if (rows.length <= count) return [...rows]
  return Array.from({ length: count }, (_, index) => rows[Math.floor((index * rows.length) / count)])
}

function diverged(step: number): UserError {
  return new UserError({
    code: 'ROUND_FAILED',
    what: 'pre-training cannot go on',
    why: `the loss of step ${step} is not a finite number`,
    fix: 'lower train.learning_rate, or lengthen train.warmup_ratio',
  })
}
