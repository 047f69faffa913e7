/**
 * @file What a data set is to the loader: a list of units that go to a client whole, and are held out whole.
 */
import type { Tokenizer } from '../shared/model/tokenizer.js'
import type { TokenRow } from '../shared/train/rows.js'

export interface TokeniseOptions {
  /** Tokens of a row at most; at least 2. */
  readonly maxLength: number
  /** For rows with a prompt: whether only the completion is scored. */
  readonly completionOnlyLoss: boolean
}

export interface Tokenised {
  readonly rows: readonly TokenRow[]
  /** Rows that were cut at the end. */
  readonly truncated: number
  /** Rows left out because no token of them would be scored. */
  readonly dropped: number
}

/** A row of a file, or a speech: never split between clients, nor between training and evaluation. */
export interface DataUnit {
  /** Whose it is, for the partition `natural`; null where it says nothing. */
  readonly owner: string | null
  /** Its class, for the partitions `dirichlet` and `shard`; null where it says nothing. */
  readonly label: string | null
  /** Where it comes from, for errors, as "rows.jsonl, line 3". */
  readonly place: string
  /** Its size in characters, which clients' shares are balanced by. */
  readonly characters: number
  /** Whether only tokenising it can tell whether it is good for anything, so that a run does that before it begins. Default false. */
  readonly isTrial?: boolean
  tokenise(tokenizer: Tokenizer, options: TokeniseOptions): Tokenised
}

export interface DataSource {
  /** As the log calls it. */
  readonly name: string
  /** In an order that every process sees alike. */
  readonly units: readonly DataUnit[]
}
