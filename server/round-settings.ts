/**
 * @file What the round machine needs of a run's config.
 */
import type { Config } from '../shared/config/schema.js'
import type { RoundSettings } from './round-state.js'

export function roundSettings({ split, train, federation, eval: evaluation }: Config): RoundSettings {
  const milliseconds = (seconds: number | null): number | null => (seconds === null ? null : seconds * 1000)
  return {
    rounds: federation.num_rounds,
    remoteSteps: split.topology === 'split',
    top: federation.top,
    order: federation.order,
    accumulation: train.gradient_accumulation_steps,
    localSteps: federation.local_steps,
    localEpochs: federation.local_epochs,
    rowsPerStep: train.per_device_train_batch_size * train.gradient_accumulation_steps,
    minAvailable: federation.min_available_clients,
    minTrain: federation.min_train_clients,
    minReplies: federation.min_replies,
    evaluateEvery: evaluation.every_rounds,
    stepDeadlineMs: milliseconds(federation.step_deadline_s),
    roundDeadlineMs: milliseconds(federation.round_deadline_s),
    gatherMs: federation.reconnect_s * 1000,
    onClientLoss: federation.on_client_loss,
  }
}
