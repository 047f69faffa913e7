/**
 * @file Looks at a run's rows before anything of it is made: whether they can be read, tokenised, and divided among its clients.
 */
import { partition } from '../datasets/partition.js'
import { readRows, rowSource } from '../datasets/rows.js'
import { sotuSource } from '../datasets/sotu/load.js'
import { tokeniseRow } from '../datasets/tokenise.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { ModelFolder } from '../shared/model/model.node.js'

/** @throws UserError TOKENIZER_MISSING, MODEL_CORRUPT, DATA_NOT_FOUND, DATA_EMPTY, DATA_ROW_INVALID, CONFIG_VALUE, or NO_TRAINING_ROWS for fewer rows than clients. */
export async function checkRows(config: Config, model: Pick<ModelFolder, 'tokenizer'>): Promise<void> {
  const { data, train, federation } = config
  const tokenizer = await model.tokenizer()
  const rows = data.path === null ? null : await readRows(data.path)
  const evaluationRows = data.eval_path === null ? [] : await readRows(data.eval_path)
  // Only the tokenizer's chat template can tell whether it takes a conversation.
  for (const { content } of [...(rows ?? []), ...evaluationRows])
    if (content.kind === 'messages') tokeniseRow(content, tokenizer, { maxLength: data.max_length, completionOnlyLoss: true })
  const source = rows === null || data.path === null ? await sotuSource() : rowSource(rows, data.path)
  const parts = partition(source, { kind: data.partition, parts: federation.num_clients, alpha: data.alpha, seed: train.seed })
  if (clientCount(config) > 1 && parts.some((units) => units.length === 0))
    throw new UserError({
      code: 'NO_TRAINING_ROWS',
      what: `${source.name} cannot be divided among ${federation.num_clients} clients`,
      why: `it has ${source.units.length} rows, fewer than there are clients`,
      fix: `set federation.num_clients to at most ${source.units.length}, or use more rows`,
    })
}
