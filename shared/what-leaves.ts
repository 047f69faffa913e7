/**
 * @file What leaves a client, in words: `run`, `server` and `client` say it at their start.
 */
import type { ClientConfig } from './config/schema.js'

export function whatLeaves({ split }: Pick<ClientConfig, 'split'>): string {
  if (split.topology !== 'split')
    return 'what leaves a client: its LoRA adapter after each round, and losses. Rows and activations stay on it.'
  const cut =
    split.cut_layer === 0
      ? ' At cut 0 the activations are a look-up in a public table: they hide nothing.'
      : ` They come from the first ${split.cut_layer === 1 ? 'block' : `${split.cut_layer} blocks`}; activations of shallow cuts can be inverted in part.`
  return `what leaves a client: smashed activations of its rows, the ids of all scored tokens (for plain-text rows: all of them), and its LoRA adapter. Rows never leave as text.${cut}`
}
