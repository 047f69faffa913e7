/**
 * @file The visits of a batch in real training: a model learns one batch by LoRA, and what crosses its cut is noted each time.
 */
import { fileSource } from '../../../datasets/load.js'
import { openBackend } from '../../../shared/backend/open.node.js'
import { UserError } from '../../../shared/errors.js'
import { initialAdapter } from '../../../shared/model/adapter.js'
import type { HubAccess } from '../../../shared/model/hub/snapshot.node.js'
import { weightsOfSides } from '../../../shared/model/loaded.js'
import { targetedModules } from '../../../shared/model/lora.js'
import { openModel, type ModelFolder } from '../../../shared/model/model.node.js'
import { openBottom, openTop } from '../../../shared/model/stage.js'
import { derive } from '../../../shared/random.js'
import { adamw } from '../../../shared/train/adamw.js'
import { packBatch } from '../../../shared/train/batch.js'
import type { TokenRow } from '../../../shared/train/rows.js'
import type { Visit, Visits } from './visits.js'

const LEARNING_RATE = 5e-4

export interface ModelVisitsOptions {
  /** A folder or a hub id. */
  readonly model: string
  /** A file of rows, of which the first are taken; null: rows of random tokens. */
  readonly data: string | null
  /** Blocks of the bottom. */
  readonly cut: number
  /** Rows of the batch, and tokens of each at most. */
  readonly batch: number
  readonly seq: number
  readonly rank: number
  readonly threads: number
  readonly visits: number
  readonly hub: HubAccess
  /** Hears of each visit. */
  readonly onVisit?: (done: number, of: number) => void
}

/** @throws UserError CUT_OUT_OF_RANGE; DATA_EMPTY if the file has no row with a scored token */
export async function modelVisits({
  batch: rows,
  seq,
  cut,
  rank,
  threads,
  visits: count,
  ...options
}: ModelVisitsOptions): Promise<Visits> {
  const folder = await openModel(options.model, { hub: options.hub })
  const { definition: model, architecture } = folder
  if (cut > architecture.layers) throw cutTooDeep(cut, architecture.layers)
  const batch = packBatch(await rowsOf(folder, options.data, rows, Math.min(seq, architecture.maxPositions)))
  const backend = openBackend('onnx', { threads, lanes: 1 })
  try {
    const { family, config } = model
    const modules = targetedModules(family.linears(config), family.defaultTargets)
    const lora = { paths: modules.map(({ path }) => path), scale: 2, dropout: 0 }
    const weights = await folder.weights(weightsOfSides(model, null).bottom)
    const setting = { backend, model, weights, lora, smoothing: 0, recomputeAll: false, lane: 0 }
    const [bottom, top] = [await openBottom(setting, cut), await openTop(setting, cut)]
    const adapter = initialAdapter(modules, { r: rank, seed: 1, init: true })
    const optimizer = adamw({ adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0.01 })
    const visits: Visit[] = []
    for (let step = 0; step < count; step++) {
      const key = { seed: 1, client: 'client-0', round: 1, step, micro: 0 }
      const { hidden, pending } = await bottom.forward(batch, adapter, key)
      const { gradient, grads } = await top.train({ ...batch, hidden }, batch.targets.data.length, adapter, key)
      const bottomGrads = await bottom.backward(pending, gradient!)
      optimizer.step(adapter, new Map([...grads, ...bottomGrads]), LEARNING_RATE)
      visits.push({ activations: hidden.data, gradients: gradient!.data })
      options.onVisit?.(step + 1, count)
    }
    await bottom.dispose()
    await top.dispose()
    return { lengths: batch.lengths, width: architecture.hiddenSize, visits }
  } finally {
    await backend.dispose()
  }
}

async function rowsOf(folder: ModelFolder, data: string | null, rows: number, seq: number): Promise<TokenRow[]> {
  if (data === null) {
    const random = derive(1, 'benchmark tokens')
    const { vocabularySize } = folder.architecture
    return Array.from({ length: rows }, () => ({
      ids: Int32Array.from({ length: seq }, () => random.below(vocabularySize)),
      scored: Uint8Array.from({ length: seq }, (_, position) => Number(position > 0)),
      bytes: 0,
    }))
  }
  const [source, tokenizer] = [await fileSource(data), await folder.tokenizer()]
  const taken: TokenRow[] = []
  for (const unit of source.units) {
    if (taken.length >= rows) break
    taken.push(...unit.tokenise(tokenizer, { maxLength: seq, completionOnlyLoss: true }).rows)
  }
  if (taken.length === 0) throw noRows(data)
  return taken.slice(0, rows)
}

function cutTooDeep(cut: number, layers: number): UserError {
  return new UserError({
    code: 'CUT_OUT_OF_RANGE',
    what: `a cut behind block ${cut} cannot be measured`,
    why: `the model has ${layers} blocks`,
    fix: `give --cut from 0 to ${layers}`,
  })
}

function noRows(data: string): UserError {
  return new UserError({
    code: 'DATA_EMPTY',
    what: `there is nothing to measure in ${data}`,
    why: 'none of its rows has a scored token within --seq tokens',
    fix: 'raise --seq, or give other rows',
  })
}
