/**
 * @file The end of a codec with a memory that sends: what it holds of rows is what the other end decoded, or what got lost on the way there.
 */
import { rowsOf, type CodecContext } from './codec.js'
import type { History, KnownRow } from './history.js'
import type { Likeness } from './likeness.js'
import type { NamedCodec } from './index.js'
import { firstOfEach, remember, type BatchRows, type RowMemory } from './row-memory.js'

/** A batch that was packed. */
export interface Told {
  readonly name: string
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Of each row the version that it is told against; 0: whole. */
  readonly against: readonly number[]
  /** To be called once the other end has decoded it, or is sure to. */
  keep(): void
}

export interface RowEncoder {
  /**
   * @param values of all rows, [tokens, width]
   * @param version the message's number, larger than those before
   * @param held versions that the other end says it holds, 0: none; left away, it is believed to hold all it was told
   */
  encode(
    values: Float32Array,
    shape: readonly number[],
    rows: BatchRows,
    version: number,
    context: CodecContext,
    held?: ArrayLike<number>,
  ): Told
}

/** @param likeness decides which rows are told by what they were; null: all that are known */
export function changeEncoder(
  { name, changes }: Extract<History, { kind: 'changes' }>,
  memory: RowMemory,
  likeness: Likeness | null,
): RowEncoder {
  return {
    encode(values, shape, rows, version, context, held) {
      const { width } = rowsOf(shape)
      const isFirst = firstOfEach(rows)
      const against: number[] = []
      const known: KnownRow[] = []
      let at = 0
      for (let index = 0; index < rows.numbers.length; index++) {
        const tokens = rows.lengths[index]
        const own = values.subarray(at, (at += tokens * width))
        const remembered = isFirst[index] ? memory.get(rows.numbers[index], own.length) : null
        const isShared = remembered !== null && (held === undefined || held[index] === remembered.version)
        const isUsed = isShared && (likeness === null || likeness.isAlike(own, remembered.values))
        against.push(isUsed ? remembered.version : 0)
        known.push({ tokens, before: isUsed ? remembered.values : null })
      }
      const bytes = changes.encode(values, known, width, context)
      return {
        name,
        bytes,
        against,
        // What the other end makes of it, by the same code.
        keep: () => remember(memory, rows, width, version, changes.decode(bytes, known, width)),
      }
    },
  }
}

/**
 * Error feedback: what a message loses of a row is added to that row's next one, so that over the visits nothing is lost: e += Z - C(Z + e).
 * The other end needs no memory for it. Source: EF-SGD (arXiv 1901.09847), per row.
 */
export function feedbackEncoder({ codec, name }: NamedCodec, memory: RowMemory): RowEncoder {
  return {
    encode(values, shape, rows, version, context) {
      const { width } = rowsOf(shape)
      const isFirst = firstOfEach(rows)
      const wanted = values.slice()
      let at = 0
      for (let index = 0; index < rows.numbers.length; index++) {
        const own = wanted.subarray(at, (at += rows.lengths[index] * width))
        const lost = isFirst[index] ? memory.get(rows.numbers[index], own.length)?.values : null
        if (lost) for (let place = 0; place < own.length; place++) own[place] += lost[place]
      }
      const bytes = codec.encode(wanted, shape, context)
      return {
        name,
        bytes,
        against: Array.from(rows.numbers, () => 0),
        keep() {
          const lost = codec.decode(bytes, shape)
          for (let place = 0; place < lost.length; place++) lost[place] = wanted[place] - lost[place]
          remember(memory, rows, width, version, lost)
        },
      }
    },
  }
}
