/**
 * @file A row of text after tokenisation: what training, evaluation and the data loaders share.
 */
export interface TokenRow {
  /** Token ids, i32 [tokens]; at least 2. */
  readonly ids: Int32Array
  /** [tokens], 1 where the token is to be predicted; position 0 is never scored. */
  readonly scored: Uint8Array
  /** UTF-8 bytes of the text that the scored tokens cover, for bits per byte. */
  readonly bytes: number
}

/** Number of scored tokens of a row. */
export function scoredTokens(row: TokenRow): number {
  return row.scored.reduce((sum, flag) => sum + flag, 0)
}

/** What one client trains and evaluates on. */
export interface ClientRows {
  readonly train: readonly TokenRow[]
  readonly evaluation: readonly TokenRow[]
}
