/**
 * @file Whether rows of tokens fit a model: its vocabulary, which the tokenizer beside it should know, and its positions.
 */
import { UserError } from '../errors.js'
import type { TokenRow } from '../train/rows.js'
import type { Architecture } from './families/family.js'

/** @throws UserError MODEL_CORRUPT for a token that the model has no embedding for, CONFIG_VALUE for a row longer than its positions. */
export function checkRowsFit(rows: readonly TokenRow[], { vocabularySize, maxPositions }: Architecture, model: string): void {
  for (const { ids } of rows) {
    if (ids.length > maxPositions)
      throw new UserError({
        code: 'CONFIG_VALUE',
        what: `a row of ${ids.length} tokens does not fit ${model}`,
        why: `the model has ${maxPositions} positions`,
        fix: `set data.max_length to at most ${maxPositions}`,
      })
    const stranger = ids.find((id) => id < 0 || id >= vocabularySize)
    if (stranger !== undefined)
      throw new UserError({
        code: 'MODEL_CORRUPT',
        what: `the tokenizer of ${model} does not belong to the model`,
        why: `it makes a token with the id ${stranger}, and the model's vocabulary has ${vocabularySize}`,
        fix: 'put the tokenizer.json that the model was trained with into its folder',
      })
  }
}
