/**
 * @file What clients do in each round: the sizes of their micro-batches, from their rows where there are any, else from the config's bounds.
 */
import { dataFromRows, type ClientData } from '../../client/data.js'
import type { Config } from '../../shared/config/schema.js'
import type { Architecture } from '../../shared/model/families/family.js'
import { encodeMask } from '../../shared/protocol/mask.js'
import { encodeVarints } from '../../shared/protocol/varints.js'
import { packBatch, type Batch } from '../../shared/train/batch.js'
import type { ClientRows } from '../../shared/train/rows.js'
import type { MicroBatch, RoundWork } from './bytes.js'

/** A client's micro-batches in any round. */
export interface ClientWork {
  /** Local steps of a round. */
  readonly localSteps: number
  inRound(round: number): RoundWork
}

/** The same batches that a run makes: they are a function of the seed, the client's id, the round and the step. */
export function workOfRows(config: Config, client: string, rows: ClientRows): ClientWork {
  const data: ClientData = dataFromRows(rows, client, config)
  const localSteps = localStepsOf(config, data.examples)
  const evaluation = [...data.evaluation(config.eval.max_eval_batches)].map(({ batch }) => sizeOf(batch))
  const rounds = new Map<number, RoundWork>()
  const made = (round: number): RoundWork => ({
    round,
    steps: round === 0 ? [] : Array.from({ length: localSteps }, (_, step) => data.localStep(round, step, localSteps).map(sizeOf)),
    evaluation: isEvaluated(config, round) ? evaluation : null,
  })
  return {
    localSteps,
    inRound(round) {
      const work = rounds.get(round) ?? made(round)
      rounds.set(round, work)
      return work
    },
  }
}

/** What a model takes. */
type ModelBounds = Pick<Architecture, 'maxPositions' | 'vocabularySize'>

/**
 * As much as there can be: every row is `max_length` long, and all of its tokens but the first are scored.
 * @returns null where the rows decide how many steps there are.
 */
export function workAtMost(config: Config, model: ModelBounds): ClientWork | null {
  const localSteps = config.federation.local_steps
  if (localSteps === null) return null
  const size = largestBatch(config, model)
  const micros = Array.from({ length: config.train.gradient_accumulation_steps }, () => size)
  const batches = config.eval.max_eval_batches
  return {
    localSteps,
    inRound: (round) => ({
      round,
      steps: round === 0 ? [] : Array.from({ length: localSteps }, () => micros),
      // How many held-out rows there are only the data tells.
      evaluation: isEvaluated(config, round) && batches !== null ? Array.from({ length: batches }, () => size) : null,
    }),
  }
}

/** The longest rows there can be, of the ids that take most bytes. */
export function largestBatch({ train, data }: Config, { maxPositions, vocabularySize }: ModelBounds): MicroBatch {
  const longest = Math.min(data.max_length, maxPositions)
  const ids = new Int32Array(longest).fill(vocabularySize - 1)
  const scored = new Uint8Array(longest).fill(1, 1)
  return sizeOf(packBatch(Array.from({ length: train.per_device_train_batch_size }, () => ({ ids, scored, bytes: 0 }))))
}

/** Before training, every `every_rounds`-th round, and the last one. */
export function isEvaluated({ eval: { every_rounds }, federation }: Config, round: number): boolean {
  if (federation.fraction_evaluate === 0) return false
  return round % every_rounds === 0 || round === federation.num_rounds
}

/** With `local_epochs` ceil(examples / rows of a step) * epochs. */
function localStepsOf({ federation, train }: Config, examples: number): number {
  const rowsPerStep = train.per_device_train_batch_size * train.gradient_accumulation_steps
  return federation.local_steps ?? Math.ceil(examples / rowsPerStep) * (federation.local_epochs ?? 1)
}

function sizeOf({ lengths, targets, scoredMask }: Batch): MicroBatch {
  return {
    batch: lengths.length,
    longest: lengths.reduce((most, length) => Math.max(most, length), 0),
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    scored: targets.data.length,
    lengthsBytes: encodeVarints(lengths).length,
    maskBytes: encodeMask(scoredMask).length,
    targetsBytes: encodeVarints(targets.data).length,
  }
}
