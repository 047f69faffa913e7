/**
 * @file What came out of a run, in one line.
 */
import { cutTraffic, type CutTraffic } from '../shared/protocol/cut-bytes.js'
import type { RunGroup } from '../shared/run-records.js'
import { statusOf } from './inspect/report.js'
import type { Run } from './runs.js'

/** What came out of one run. Losses are nats per scored token, bytes as on the wire; null: not measured. */
export interface Outcome {
  readonly run_dir: string
  readonly id: string
  readonly name: string
  readonly status: string
  readonly model: string | null
  /** Of a run that is one of several seeds. */
  readonly group: RunGroup | null
  /** Finished ones, without round 0. */
  readonly rounds: number
  readonly perplexity_before: number | null
  readonly perplexity_last: number | null
  readonly perplexity_best: number | null
  /** Held-out: after the last round that has one, and the best of all. */
  readonly eval_loss: number | null
  readonly best_eval_loss: number | null
  /** Of the last round that has one. */
  readonly train_loss: number | null
  readonly uplink_bytes: number
  readonly downlink_bytes: number
  /** What activations (up) and gradients (down) took, and what they would as fp32. */
  readonly cut: CutTraffic
  readonly seconds: number
}

/** Pure: of what was read of the run. */
export function outcomeOf(run: Run): Outcome {
  const { rounds, summary } = run
  const measured = (key: 'eval_loss' | 'eval_perplexity'): number[] => rounds.flatMap(({ [key]: value }) => (value === null ? [] : [value]))
  const perplexities = measured('eval_perplexity')
  const losses = measured('eval_loss')
  const sumOver = (part: 'uplink_bytes' | 'downlink_bytes'): number =>
    rounds.reduce((sum, { clients }) => clients.reduce((own, client) => own + client[part], sum), 0)
  return {
    run_dir: run.folder,
    id: run.id,
    name: run.name,
    status: statusOf(run),
    model: run.metadata?.model.name ?? null,
    group: run.metadata?.group ?? null,
    rounds: rounds.filter(({ round }) => round > 0).length,
    perplexity_before: rounds.find(({ round }) => round === 0)?.eval_perplexity ?? null,
    perplexity_last: perplexities.at(-1) ?? null,
    perplexity_best: perplexities.length === 0 ? null : Math.min(...perplexities),
    eval_loss: losses.at(-1) ?? null,
    best_eval_loss: losses.length === 0 ? null : Math.min(...losses),
    train_loss: rounds.findLast(({ train_loss }) => train_loss !== null)?.train_loss ?? null,
    // Only a run that came to its end has totals of its own, with what lies between rounds.
    uplink_bytes: summary?.uplink_bytes ?? sumOver('uplink_bytes'),
    downlink_bytes: summary?.downlink_bytes ?? sumOver('downlink_bytes'),
    cut: cutTraffic(run.traffic),
    seconds: summary?.seconds ?? rounds.reduce((sum, { seconds }) => sum + seconds, 0),
  }
}
