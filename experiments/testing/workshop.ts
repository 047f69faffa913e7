/**
 * @file A folder in which tests type commands: the golden GPT-2 model with a tokenizer, rows, configs, and a cache and state of its own.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeGoldenModel } from './golden-model.js'
import { withChanges, type Groups } from './small-run.js'

export interface Workshop {
  readonly folder: string
  /** Of the processes that run here. */
  readonly environment: NodeJS.ProcessEnv
  at(...parts: string[]): string
  /** Writes a config, and @returns its name. */
  config(name: string, changes?: Groups): Promise<string>
  remove(): Promise<void>
}

/** Two rounds of two steps for two clients, and the rows of each. The golden model has 4 blocks and 64 positions. */
const TINY: Groups = {
  model: { model_name_or_path: 'model' },
  split: { cut_layer: 2 },
  lora: { r: 2, target_modules: ['c_attn'] },
  data: { path: 'rows.jsonl', max_length: 32 },
  train: { per_device_train_batch_size: 2, learning_rate: 0.01 },
  federation: { num_rounds: 2, num_clients: 2, local_steps: 2 },
}

export async function openWorkshop(): Promise<Workshop> {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-workshop-'))
  const at = (...parts: string[]): string => join(folder, ...parts)
  await writeGoldenModel(at('model'), 'gpt2', { eos: true })
  await writeFile(at('rows.jsonl'), textRows(12))
  return {
    folder,
    environment: { ...process.env, CUTLAYER_CACHE: at('cache'), CUTLAYER_STATE: at('state'), TMPDIR: at(), NO_COLOR: '1' },
    at,
    async config(name, changes = {}) {
      // JSON is YAML, too.
      await writeFile(at(name), JSON.stringify(withChanges(TINY, changes)))
      return name
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/** Lines of a JSONL file: rows of 7 to 13 characters, each a token. */
export function textRows(count: number): string {
  return Array.from({ length: count }, (_, row) => `${JSON.stringify({ text: `row${row}:${'abc'.repeat(1 + (row % 3))}` })}\n`).join('')
}
