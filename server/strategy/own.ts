/**
 * @file Strategies by `federation.strategy`: one that comes with cutlayer by its name, or one of the user's own by its path.
 */
import { basename, extname } from 'node:path'
import type { Config } from '../../shared/config/schema.js'
import { isOwnModule } from '../../shared/config/own-path.js'
import { UserError } from '../../shared/errors.js'
import type { CodeFile } from '../../shared/run-records.js'
import { importOwnModule, threw, unusable, type OwnModuleRole } from '../../shared/own-module.node.js'
import { f32 } from '../../shared/tensor.js'
import { checkedAnswer, WrongAnswer } from './answer.js'
import type { OwnStrategy, StrategyDefinition } from './define.js'
import { fedAvg } from './fedavg.js'
import type { Strategy } from './strategy.js'

const ROLE: OwnModuleRole = {
  kind: 'strategy',
  code: 'BAD_STRATEGY',
  notFound: 'BAD_STRATEGY',
  wanted: 'export default { create: (options) => ({ aggregate(replies, context) { return { adapter: context.average() } } }) }',
}

export interface LoadedStrategy {
  readonly strategy: Strategy
  /** null for one that comes with cutlayer. */
  readonly file: CodeFile | null
}

/**
 * The strategy of a config.
 * @throws UserError BAD_STRATEGY for what is wrong with the file, CONFIG_VALUE for options that it does not take.
 */
export async function loadStrategy(federation: Config['federation']): Promise<LoadedStrategy> {
  const standard = fedAvg({
    fractionTrain: federation.fraction_train,
    fractionEvaluate: federation.fraction_evaluate,
    // Fewer could never give the replies that a round needs.
    minTrain: Math.max(federation.min_train_clients, federation.min_replies),
  })
  if (!isOwnModule(federation.strategy)) return { strategy: standard, file: null }
  const { path, sha256, value } = await importOwnModule(federation.strategy, ROLE)
  const definition = definitionIn(value, path)
  const own = created(definition, federation.strategy_options, path)
  return { strategy: guarded(definition.name ?? basename(path, extname(path)), own, standard, path), file: { path, sha256 } }
}

function definitionIn(value: unknown, path: string): StrategyDefinition<unknown> {
  const wrong = (why: string): UserError => unusable(path, ROLE, why, `write its default export as: ${ROLE.wanted}`)
  if (typeof value !== 'object' || value === null) throw wrong(`its default export is a ${typeof value}, and no strategy`)
  if (!isDefinition(value)) throw wrong('its default export has no function called create')
  const { name, options } = value
  if (name !== undefined && (typeof name !== 'string' || !/^[^\p{Cc}]{1,100}$/u.test(name)))
    throw wrong('its name is not a text of 1 to 100 characters')
  if (options !== undefined && typeof options?.parse !== 'function') throw wrong('its options have no function called parse')
  return value
}

function isDefinition(value: object): value is StrategyDefinition<unknown> {
  return 'create' in value && typeof value.create === 'function'
}

function created(definition: StrategyDefinition<unknown>, given: Config['federation']['strategy_options'], path: string): OwnStrategy {
  const options = definition.options === undefined ? given : parsedOptions(definition.options, given, path)
  let own: unknown
  try {
    own = definition.create(options)
  } catch (cause) {
    throw threw(path, ROLE, 'create', cause)
  }
  if (!isOwnStrategy(own))
    throw unusable(path, ROLE, 'what create returned has no function called aggregate', `write its default export as: ${ROLE.wanted}`)
  for (const name of ['selectTrain', 'selectEvaluate'] as const)
    if (own[name] !== undefined && typeof own[name] !== 'function')
      throw unusable(path, ROLE, `${name} is not a function`, `make ${name} a function, or leave it out`)
  return own
}

function isOwnStrategy(value: unknown): value is OwnStrategy {
  return typeof value === 'object' && value !== null && 'aggregate' in value && typeof value.aggregate === 'function'
}

function parsedOptions(options: NonNullable<StrategyDefinition<unknown>['options']>, given: unknown, path: string): unknown {
  try {
    return options.parse(given)
  } catch (cause) {
    throw new UserError(
      {
        code: 'CONFIG_VALUE',
        what: `the strategy in ${path} does not take federation.strategy_options`,
        why: messagesOf(cause),
        fix: 'correct federation.strategy_options',
      },
      { cause },
    )
  }
}

/** A schema's error is a list of what is wrong with which key; of any other the message tells. */
function messagesOf(cause: unknown): string {
  if (typeof cause === 'object' && cause !== null && 'issues' in cause && Array.isArray(cause.issues)) {
    const told = (cause.issues as readonly { path?: readonly PropertyKey[]; message?: string }[]).map(({ path = [], message = '' }) =>
      path.length === 0 ? message : `${path.map(String).join('.')}: ${message}`,
    )
    return told.join('; ')
  }
  return cause instanceof Error ? cause.message : String(cause)
}

/** What the author's functions throw or answer wrongly ends the run with an error that names the file, and changes nothing before that. */
function guarded(name: string, own: OwnStrategy, standard: Strategy, path: string): Strategy {
  const calling = <Result>(doing: string, call: () => Result): Result => {
    try {
      return call()
    } catch (cause) {
      throw threw(path, ROLE, doing, cause)
    }
  }
  const wrong = (doing: string, why: string): UserError =>
    unusable(path, ROLE, `what ${doing} answered is wrong: ${why}`, `correct ${path}`)
  const selecting =
    (which: 'selectTrain' | 'selectEvaluate'): Strategy['selectTrain'] =>
    (ready, random, round) => {
      if (!own[which]) return standard[which](ready, random, round)
      const doing = `${which} in round ${round}`
      const chosen: unknown = calling(doing, () => own[which]?.([...ready], random, round))
      if (!isIds(chosen)) throw wrong(doing, 'it is not a list of client ids')
      const strangers = chosen.filter((id) => !ready.includes(id))
      if (strangers.length > 0) throw wrong(doing, `${strangers.join(', ')} is not among the clients that are ready: ${ready.join(', ')}`)
      return ready.filter((id) => chosen.includes(id))
    }
  return {
    name,
    selectTrain: selecting('selectTrain'),
    selectEvaluate: selecting('selectEvaluate'),
    aggregate(replies, context) {
      const doing = `aggregate in round ${context.round}`
      // A copy: who writes into it must not change the adapter that the last round left.
      const given = { ...context, adapter: new Map([...context.adapter].map(([key, { shape, data }]) => [key, f32(shape, data.slice())])) }
      const answer: unknown = calling(doing, () => own.aggregate(replies, given))
      try {
        return checkedAnswer(answer, context.adapter)
      } catch (error) {
        throw error instanceof WrongAnswer ? wrong(doing, error.message) : error
      }
    },
  }
}

function isIds(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((id) => typeof id === 'string')
}
