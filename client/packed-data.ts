/**
 * @file The data of a simulated client: its rows are packed, and only laid out while it works.
 */
import type { ClientConfig } from '../shared/config/schema.js'
import { packRows } from '../shared/train/packed-rows.js'
import type { ClientRows } from '../shared/train/rows.js'
import { dataFromRows, type ClientData } from './data.js'

export interface PackedData extends ClientData {
  /** Whether its rows are laid out. */
  readonly isOpen: boolean
  /** Lets go of all but the packed rows. */
  close(): void
}

/** The same batches as `dataFromRows` gives. Opens when it is first asked for one. */
export function packedData(rows: ClientRows, client: string, config: ClientConfig): PackedData {
  const { examples, tokens, evalExamples } = dataFromRows(rows, client, config)
  const [train, evaluation] = [packRows(rows.train), packRows(rows.evaluation)]
  let data: ClientData | null = null
  const open = (): ClientData => (data ??= dataFromRows({ train: train.open(), evaluation: evaluation.open() }, client, config))
  return {
    ...{ examples, tokens, evalExamples },
    get isOpen() {
      return data !== null
    },
    localStep: (...place) => open().localStep(...place),
    evaluation: (maxBatches) => open().evaluation(maxBatches),
    close() {
      data = null
    },
  }
}
