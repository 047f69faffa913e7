/**
 * @file A small run for tests: the golden GPT-2 model, a few short rows for each client, one round of two steps.
 */
import { dataFromRows } from '../../client/data.js'
import { parseConfig } from '../../shared/config/parse.js'
import type { Config } from '../../shared/config/schema.js'
import { derive } from '../../shared/random.js'
import type { ClientRows, TokenRow } from '../../shared/train/rows.js'
import type { TogetherOptions } from './together.js'

/** Config keys by group, as a file has them. */
export type Groups = Readonly<Record<string, Readonly<Record<string, unknown>>>>

const SMALL: Groups = {
  model: { engine: 'reference' },
  split: { cut_layer: 2 },
  lora: { r: 4, lora_alpha: 8, target_modules: ['c_attn'] },
  data: { path: 'rows.jsonl' },
  train: { per_device_train_batch_size: 3, learning_rate: 0.002 },
  federation: { num_rounds: 1, num_clients: 1, local_steps: 2 },
  transport: { kind: 'memory' },
}

/** @param changes keys that differ from the small run's. */
export function smallConfig(changes: Groups = {}): Config {
  return parseConfig(withChanges(SMALL, changes))
}

/** The groups of a config with keys that differ. */
export function withChanges(groups: Groups, changes: Groups): Groups {
  const names = [...new Set([...Object.keys(groups), ...Object.keys(changes)])]
  return Object.fromEntries(names.map((name) => [name, { ...groups[name], ...changes[name] }]))
}

/** Data of as many clients, each with rows of its own. */
export function smallData(clients: number): TogetherOptions['data'] {
  return Array.from({ length: clients }, (_, index) => (client, config) => dataFromRows(smallRows(index), client, config))
}

/** Rows of 4 to 12 tokens. Clients hold different numbers of them; the first third of some rows is not scored. */
export function smallRows(client: number): ClientRows {
  return {
    train: Array.from({ length: 7 + 2 * client }, (_, row) => randomRow(`train ${client} ${row}`)),
    evaluation: Array.from({ length: 2 }, (_, row) => randomRow(`evaluation ${client} ${row}`)),
  }
}

const GOLDEN_VOCABULARY = 96

function randomRow(name: string): TokenRow {
  const random = derive(0, 'row', name)
  const ids = Int32Array.from({ length: 4 + random.below(9) }, () => random.below(GOLDEN_VOCABULARY))
  const prompt = random.below(2) === 0 ? 1 : Math.ceil(ids.length / 3)
  return { ids, scored: Uint8Array.from(ids, (_, position) => (position < prompt ? 0 : 1)), bytes: ids.length }
}
