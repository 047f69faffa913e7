/**
 * @file A strategy as its author writes it, in a file that `federation.strategy` names.
 */
import type { Strategy } from './strategy.js'

/** What `create` makes: `aggregate`, and who takes part where that is not to go by `federation.fraction_train` and its like. */
export type OwnStrategy = Pick<Strategy, 'aggregate'> & Partial<Pick<Strategy, 'selectTrain' | 'selectEvaluate'>>

export interface StrategyDefinition<Options = Readonly<Record<string, unknown>>> {
  /** As rounds and model cards call it; without one, the file's name. */
  readonly name?: string
  /** Checks `federation.strategy_options` and fills in what is missing: a zod schema, say. Without it they are handed on as they are. */
  readonly options?: { parse(given: unknown): Options }
  /** Called once a run, before anything of it is written. */
  create(options: Options): OwnStrategy
}

/** The default export of a strategy's file. It changes nothing, and lets TypeScript and editors know the types: a plain object does as well. */
export function defineStrategy<Options = Readonly<Record<string, unknown>>>(
  definition: StrategyDefinition<Options>,
): StrategyDefinition<Options> {
  return definition
}
