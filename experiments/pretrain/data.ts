/**
 * @file The divided corpus as tokens.
 */
import { tokeniseDocument } from '../../datasets/tokenise.js'
import type { Tokenizer } from '../../shared/model/tokenizer.js'
import type { TokenRow } from '../../shared/train/rows.js'
import type { DividedCorpus } from './corpus.js'
import { tokenStream } from './windows.js'

export interface TrainingData {
  /** The training documents as one line; see `tokenStream`. i32 [tokens]. */
  readonly stream: Int32Array
  /** Consecutive windows of the held-out speeches, in their order. */
  readonly heldOut: readonly TokenRow[]
}

export function trainingData(corpus: DividedCorpus, tokenizer: Tokenizer, windowTokens: number): TrainingData {
  return { stream: tokenStream(corpus.train, tokenizer), heldOut: heldOutWindows(corpus, tokenizer, windowTokens) }
}

export function heldOutWindows({ heldOut }: DividedCorpus, tokenizer: Tokenizer, windowTokens: number): TokenRow[] {
  return heldOut.flatMap(({ text }) => tokeniseDocument(text, tokenizer, { maxLength: windowTokens }).rows)
}
