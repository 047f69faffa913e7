/**
 * @file The end of a codec with a memory that receives.
 */
import type { History, KnownRow } from './history.js'
import { firstOfEach, remember, type BatchRows, type RowMemory } from './row-memory.js'

/** A batch that was unpacked. */
export interface Heard {
  /** [tokens, width]. */
  readonly values: Float32Array
  /** To be called once the batch is taken: from then on its rows are known as it tells them. */
  keep(): void
}

export class RowDecoder {
  constructor(
    private readonly history: Extract<History, { kind: 'changes' }>,
    private readonly memory: RowMemory,
  ) {}

  /** Versions that this end holds of these rows; 0: none. */
  held(rows: BatchRows, width: number): number[] {
    const isFirst = firstOfEach(rows)
    return Array.from(rows.numbers, (row, index) =>
      isFirst[index] ? (this.memory.get(row, rows.lengths[index] * width)?.version ?? 0) : 0,
    )
  }

  /**
   * @param against of each row the version that it is told against; 0: whole
   * @returns null if this end does not hold one of them; nothing has changed then
   * @throws UserError MESSAGE_INVALID, before it allocates, if the bytes are not of such rows
   */
  decode(bytes: Uint8Array, rows: BatchRows, width: number, version: number, against: ArrayLike<number>): Heard | null {
    const held = this.held(rows, width)
    if (held.some((own, index) => against[index] !== 0 && against[index] !== own)) return null
    const known = Array.from(rows.numbers, (row, index): KnownRow => ({
      tokens: rows.lengths[index],
      before: against[index] === 0 ? null : this.memory.get(row, rows.lengths[index] * width)!.values,
    }))
    const values = this.history.changes.decode(bytes, known, width)
    return { values, keep: () => remember(this.memory, rows, width, version, values) }
  }
}
