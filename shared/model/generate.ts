/**
 * @file Generates text: one token after another, until the end token, or as many as asked for, or as the model has positions for.
 */
import type { Decoder } from './decoder.js'
import { chooseToken, type SamplingOptions } from './sampling.js'

export interface GenerateOptions extends SamplingOptions {
  readonly maxNewTokens: number
  /** Ends the text, and is the last token given; null: nothing does. */
  readonly eosId: number | null
}

/**
 * Yields new token ids as they are chosen.
 * @param prompt at least one token.
 * @throws UserError BAD_ARGUMENT if the model has too few positions for the prompt.
 */
export async function* generateTokens(decoder: Decoder, prompt: Int32Array, options: GenerateOptions): AsyncGenerator<number, void> {
  const text = Array.from(prompt)
  let logits = await decoder.next(prompt)
  for (let step = 0; step < options.maxNewTokens; step++) {
    const id = chooseToken(logits, text, step, options)
    text.push(id)
    yield id
    if (id === options.eosId || step + 1 === options.maxNewTokens || decoder.room === 0) return
    logits = await decoder.next(Int32Array.of(id))
  }
}
