/**
 * @file A plan from what is on this machine: the model's configuration, and the rows if they and the tokenizer are here.
 */
import { availableParallelism } from 'node:os'
import { loadClientRows } from '../../datasets/load.js'
import { clientCount, type Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { checkRowsFit } from '../../shared/model/fit.js'
import type { HubAccess } from '../../shared/model/hub/snapshot.node.js'
import type { ClientRows } from '../../shared/train/rows.js'
import { packageVersion } from '../../shared/version.node.js'
import { openPlannedModel, type PlannedModel } from './model.js'
import { makePlan, type Plan } from './plan.js'

/** The rows of more are not read: those of the first stand for the others'. */
const MOST_CLIENTS_READ = 8

/**
 * @returns the plan, and why not all rows are counted; null if they are.
 * @throws UserError as `openPlannedModel` and `makePlan`, and what is wrong with rows that are here.
 */
export async function planAtHand(config: Config, hub: HubAccess): Promise<{ readonly plan: Plan; readonly why: string | null }> {
  const { model_name_or_path: name, revision } = config.model
  const model = await openPlannedModel(name, { revision, hub })
  const { rows, why } = await rowsAtHand(config, model)
  return {
    plan: makePlan({
      config,
      model,
      rows,
      software: `cutlayer ${packageVersion()}`,
      threads: config.model.threads ?? availableParallelism(),
    }),
    why,
  }
}

/**
 * The rows of the run's clients, or of the first of them; none, and why, where they or the tokenizer are not here.
 * @throws UserError what is wrong with rows that are here.
 */
async function rowsAtHand(
  config: Config,
  model: PlannedModel,
): Promise<{ readonly rows: readonly ClientRows[]; readonly why: string | null }> {
  const { data, train, split, federation } = config
  if (model.tokenizer === null) return { rows: [], why: 'the tokenizer of the model is not here' }
  if (data.dataset !== null && data.dataset !== 'sotu') return { rows: [], why: 'the rows come from code, which a plan does not run' }
  const { tokenizer } = model
  const count = federation.num_clients
  const isWhole = split.topology === 'centralized'
  const indices = Array.from({ length: Math.min(MOST_CLIENTS_READ, clientCount(config)) }, (_, index) => index)
  const rows: ClientRows[] = []
  try {
    for (const index of indices) {
      const share = isWhole ? { part: null, parts: count } : { part: { index, count } }
      rows.push((await loadClientRows({ data, seed: train.seed, tokenizer, ...share })).rows)
    }
  } catch (error) {
    if (error instanceof UserError && error.code === 'DATA_NOT_FOUND') return { rows: [], why: `${error.what}: ${error.why}` }
    throw error
  }
  for (const { train: trainRows, evaluation } of rows) checkRowsFit([...trainRows, ...evaluation], model.architecture, model.name)
  return { rows, why: rows.length < clientCount(config) ? `the rows of the first ${rows.length} clients stand for all` : null }
}
