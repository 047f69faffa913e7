/**
 * @file The pre-training corpus, divided: whole speeches are held out, so that no sentence of theirs is seen.
 */
import { pretrainingCorpus, type TextDocument } from '../../datasets/corpus.js'

export interface DividedCorpus {
  readonly train: readonly TextDocument[]
  readonly heldOut: readonly TextDocument[]
}

const BOOK = 'Moby Dick'
const HELD_OUT_EVERY = 20

/** Of each 20 speeches the last is held out; the book is all for training. */
export function divide(documents: readonly TextDocument[]): DividedCorpus {
  const speeches = documents.filter(({ title }) => !title.startsWith(BOOK))
  const heldOut = new Set(speeches.filter((_, index) => index % HELD_OUT_EVERY === HELD_OUT_EVERY - 1))
  return { train: documents.filter((document) => !heldOut.has(document)), heldOut: [...heldOut] }
}

/** Speeches before 1900 and Moby Dick. The tokenizer, too, is trained on `train` alone. */
export async function dividedCorpus(): Promise<DividedCorpus> {
  return divide(await pretrainingCorpus())
}
