/**
 * @file Whether a config and its rows fit a model: its blocks, its linear layers, its positions, and its vocabulary, which the tokenizer beside it
 * should know.
 */
import type { ClientConfig } from '../config/schema.js'
import { UserError } from '../errors.js'
import type { TokenRow } from '../train/rows.js'
import type { Architecture } from './families/family.js'
import { cutOfRun, loraOfRun, type LoadedModel, type RunLora } from './loaded.js'

/** What a config makes of a model: how it is cut, and which layers are adapted. */
export interface ConfigFit {
  /** Blocks that clients hold; null where they hold the whole model. */
  readonly cut: number | null
  readonly lora: RunLora
}

/** @throws UserError TARGET_MATCHES_NOTHING, CUT_OUT_OF_RANGE, or CONFIG_VALUE for rows longer than the model's positions. */
export function checkConfigFits(
  { split, lora, data }: Pick<ClientConfig, 'split' | 'lora' | 'data'>,
  model: Pick<LoadedModel, 'definition' | 'architecture' | 'name'>,
): ConfigFit {
  const fit = { lora: loraOfRun(model, lora), cut: cutOfRun(model, split) }
  const { maxPositions } = model.architecture
  if (data.max_length <= maxPositions) return fit
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: `data.max_length is ${data.max_length}`,
    why: `${model.name} has ${maxPositions} positions`,
    fix: `set data.max_length to at most ${maxPositions}`,
  })
}

/** @throws UserError TOKENIZER_MISMATCH for a token that the model has no embedding for, CONFIG_VALUE for a row longer than its positions. */
export function checkRowsFit(rows: readonly TokenRow[], { vocabularySize, maxPositions }: Architecture, model: string): void {
  for (const { ids } of rows) {
    if (ids.length > maxPositions)
      throw new UserError({
        code: 'CONFIG_VALUE',
        what: `a row of ${ids.length} tokens does not fit ${model}`,
        why: `the model has ${maxPositions} positions`,
        fix: `set data.max_length to at most ${maxPositions}`,
      })
    checkTokensKnown(ids, vocabularySize, model)
  }
}

/** @throws UserError TOKENIZER_MISMATCH for a token that the model has no embedding for: its tokenizer is another model's. */
export function checkTokensKnown(ids: Int32Array, vocabularySize: number, model: string): void {
  const stranger = ids.find((id) => id < 0 || id >= vocabularySize)
  if (stranger === undefined) return
  throw new UserError({
    code: 'TOKENIZER_MISMATCH',
    what: `the tokenizer of ${model} does not belong to the model`,
    why: `it makes a token with the id ${stranger}, and the model's vocabulary has ${vocabularySize}`,
    fix: 'put the tokenizer.json that the model was trained with into its folder',
  })
}
