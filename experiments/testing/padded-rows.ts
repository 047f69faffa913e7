/**
 * @file Rows as PyTorch takes them: padded to the longest, with labels where they are scored.
 */
import type { PaddedRows } from '../../shared/model/testing/peft-check.js'
import type { TokenRow } from '../../shared/train/rows.js'

export function paddedRows(rows: readonly TokenRow[]): PaddedRows {
  const longest = Math.max(...rows.map(({ ids }) => ids.length))
  const table = (value: (row: TokenRow, position: number) => number, padding: number): number[][] =>
    rows.map((row) => Array.from({ length: longest }, (_, position) => (position < row.ids.length ? value(row, position) : padding)))
  return {
    input_ids: table(({ ids }, position) => ids[position], 0),
    attention_mask: table(() => 1, 0),
    labels: table(({ ids, scored }, position) => (scored[position] ? ids[position] : -100), -100),
  }
}
