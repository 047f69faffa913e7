/**
 * @file What leaving out padding saves: rows that are padded to one length, as SplitLoRA's are (512), against their real tokens alone.
 */
import { fileSource } from '../../../datasets/load.js'
import { UserError } from '../../../shared/errors.js'
import type { ModelFolder } from '../../../shared/model/model.node.js'

export interface Padding {
  readonly rows: number
  /** Of a row. */
  readonly meanTokens: number
  readonly paddedTo: number
  /** paddedTo / meanTokens. */
  readonly factor: number
}

/** @throws UserError DATA_EMPTY if there is no row with a scored token */
export async function paddingOf(model: ModelFolder, data: string, paddedTo: number): Promise<Padding> {
  const [source, tokenizer] = [await fileSource(data), await model.tokenizer()]
  let [rows, tokens] = [0, 0]
  for (const unit of source.units)
    for (const { ids } of unit.tokenise(tokenizer, { maxLength: paddedTo, completionOnlyLoss: true }).rows) {
      rows++
      tokens += ids.length
    }
  if (rows === 0)
    throw new UserError({
      code: 'DATA_EMPTY',
      what: `there is nothing to count in ${data}`,
      why: `none of its rows has a scored token within ${paddedTo} tokens`,
      fix: 'give other rows, or a larger --padded-to',
    })
  return { rows, meanTokens: tokens / rows, paddedTo, factor: (paddedTo * rows) / tokens }
}
