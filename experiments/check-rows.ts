/**
 * @file Looks at a run's rows before anything of it is made: whether they can be read, tokenised, and divided among its clients.
 */
import { openSource } from '../datasets/load.js'
import { partition } from '../datasets/partition.js'
import { readRows, rowSource } from '../datasets/rows.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { ModelFolder } from '../shared/model/model.node.js'

/**
 * @param config of whoever runs this process: a data set that it names by path is run.
 * @throws UserError TOKENIZER_MISSING, TOKENIZER_MISMATCH, DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, DATA_ROW_INVALID, CONFIG_VALUE, or
 *   NO_TRAINING_ROWS for fewer rows than clients.
 */
export async function checkRows(config: Config, model: Pick<ModelFolder, 'tokenizer'>): Promise<void> {
  const { data, train, federation } = config
  const tokenizer = await model.tokenizer()
  const source = await openSource(data, isOwnModule(data.dataset) ? data.dataset : null)
  const evaluation = data.eval_path === null ? [] : rowSource(await readRows(data.eval_path), data.eval_path).units
  const options = { maxLength: data.max_length, completionOnlyLoss: data.completion_only_loss }
  for (const unit of [...source.units, ...evaluation]) if (unit.isTrial) unit.tokenise(tokenizer, options)
  const parts = partition(source, { kind: data.partition, parts: federation.num_clients, alpha: data.alpha, seed: train.seed })
  if (clientCount(config) > 1 && parts.some((units) => units.length === 0))
    throw new UserError({
      code: 'NO_TRAINING_ROWS',
      what: `${source.name} cannot be divided among ${federation.num_clients} clients`,
      why: `it has ${source.units.length} rows, fewer than there are clients`,
      fix: `set federation.num_clients to at most ${source.units.length}, or use more rows`,
    })
}
