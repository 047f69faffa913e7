/**
 * @file What one end holds of training rows, by their number: the least recently used leave when it would be too much. Two ends that are told of the
 * same rows in the same order let go of the same ones; where they were not, versions tell.
 */
export interface Remembered {
  /** Number of the message that it was last told by. No two messages of a link have the same. */
  readonly version: number
  readonly values: Float32Array
}

export class RowMemory {
  private readonly rows = new Map<number, Remembered>()
  private heldBytes = 0

  /** @param mostBytes of numbers that are held */
  constructor(private readonly mostBytes: number) {}

  get bytes(): number {
    return this.heldBytes
  }

  /** @param length a row that has become another, with more or fewer numbers, is not known */
  get(row: number, length: number): Remembered | null {
    const remembered = this.rows.get(row)
    return remembered?.values.length === length ? remembered : null
  }

  /** Holds these numbers, and not a copy. */
  set(row: number, remembered: Remembered): void {
    this.forget(row)
    this.rows.set(row, remembered)
    this.heldBytes += remembered.values.byteLength
    for (const oldest of this.rows.keys()) {
      if (this.heldBytes <= this.mostBytes) return
      this.forget(oldest)
    }
  }

  forget(row: number): void {
    const remembered = this.rows.get(row)
    if (!remembered) return
    this.rows.delete(row)
    this.heldBytes -= remembered.values.byteLength
  }
}

/** What one end of a cut holds. */
export interface CutMemory {
  readonly activations: RowMemory
  readonly gradients: RowMemory
}

/** @param mostBytes of each direction */
export function cutMemory(mostBytes: number): CutMemory {
  return { activations: new RowMemory(mostBytes), gradients: new RowMemory(mostBytes) }
}

/** Rows of a batch. */
export interface BatchRows {
  /** Numbers of the rows among the client's training rows. */
  readonly numbers: ArrayLike<number>
  /** Tokens of each. */
  readonly lengths: ArrayLike<number>
}

/** Whether each row is the first of its number: a row that a batch has twice is told whole the second time, and that is not kept. */
export function firstOfEach({ numbers }: BatchRows): readonly boolean[] {
  const seen = new Set<number>()
  return Array.from(numbers, (row) => !seen.has(row) && seen.add(row) !== null)
}

/** Keeps what a message told of its rows. What is not finite would spoil every change to come, so it is not kept: on no end. */
export function remember(memory: RowMemory, rows: BatchRows, width: number, version: number, values: Float32Array): void {
  const isFirst = firstOfEach(rows)
  let at = 0
  for (let index = 0; index < rows.numbers.length; index++) {
    const end = at + rows.lengths[index] * width
    if (isFirst[index]) {
      const own = values.slice(at, end)
      if (areFinite(own)) memory.set(rows.numbers[index], { version, values: own })
      else memory.forget(rows.numbers[index])
    }
    at = end
  }
}

function areFinite(values: Float32Array): boolean {
  // No callback: this reads all that is kept.
  for (let index = 0; index < values.length; index++) if (!Number.isFinite(values[index])) return false
  return true
}
