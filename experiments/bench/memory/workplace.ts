/**
 * @file What a measured run needs: a model, rows as long as asked for, and a config, in a folder of its own.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { derive } from '../../../shared/random.js'
import { writeRandomModel } from '../random-model.js'
import { ALL_SHAPES } from '../shapes.js'

export type ShapeName = keyof typeof ALL_SHAPES

export interface RunSize {
  /** Random weights of this shape, or a model's folder or hub id. */
  readonly source: { readonly shape: ShapeName } | { readonly model: string }
  readonly cut: number
  readonly clients: number
  readonly batch: number
  /** Tokens of every row. */
  readonly seq: number
  readonly precision: string
}

/** Characters of a row for each of its tokens: more than any tokenizer makes one of on the average, since what is longer is cut. */
const CHARACTERS_PER_TOKEN = 12
/** Two rounds, so that one begins with moments of the last; each of several steps, and evaluations between them. */
const ROUNDS = 2
const STEPS = 3

/** Writes model, rows and config. @returns the config's path. */
export async function writeRun(folder: string, { source, cut, clients, batch, seq, precision }: RunSize): Promise<string> {
  const model = 'model' in source ? source.model : join(folder, 'model')
  if ('shape' in source) await writeRandomModel(model, ALL_SHAPES[source.shape])
  await writeFile(join(folder, 'rows.jsonl'), rows('train', clients * batch, seq))
  await writeFile(join(folder, 'held-out.jsonl'), rows('held out', clients * batch, seq))
  const config = {
    model: { model_name_or_path: model, precision },
    split: { cut_layer: cut },
    data: { path: join(folder, 'rows.jsonl'), eval_path: join(folder, 'held-out.jsonl'), max_length: seq, partition: 'iid' },
    train: { per_device_train_batch_size: batch },
    federation: { num_rounds: ROUNDS, num_clients: clients, local_steps: STEPS },
  }
  const path = join(folder, 'memory.yaml')
  // JSON is YAML, too.
  await writeFile(path, JSON.stringify(config))
  return path
}

function rows(purpose: string, count: number, seq: number): string {
  const random = derive(1, 'benchmark rows', purpose)
  const letters = (): string => String.fromCharCode(0x61 + random.below(26))
  const word = (): string => Array.from({ length: 2 + random.below(6) }, letters).join('')
  return Array.from({ length: count }, () => {
    const words: string[] = []
    for (let length = 0; length < seq * CHARACTERS_PER_TOKEN; length += words.at(-1)!.length + 1) words.push(word())
    return `${JSON.stringify({ text: words.join(' ') })}\n`
  }).join('')
}
