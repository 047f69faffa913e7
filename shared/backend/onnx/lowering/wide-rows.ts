/**
 * @file Keeps the rows of a product's left matrix from falling on one another in the processor's cache.
 *
 * The runtime multiplies a dozen rows at a time where they lie. Rows whose distance is a multiple of 4,096 bytes share the same few lines of a
 * first-level cache with 8 ways, and push each other out: such a product was measured to take 1.3 times as long (AMD Zen 4). Feed-forward and
 * hidden layers of 1024, 2048, 3072, ... numbers are common. A few zeros at the end of each row, and zero rows in the weight to meet them, change
 * the distance and no bit of the result.
 */
import type { Dim } from '../../../graph/dims.js'
import type { Emitter, Operand } from '../emitter.js'

/** 4,096 bytes of float32. */
const CACHE_PERIOD = 1024
/** One line of the cache. */
const EXTRA = 16
/** Where a copy of the left matrix is soon paid for: not for a few columns, nor for probabilities as wide as a vocabulary. */
const LEAST_COLUMNS = 256
const WIDEST_ROW = 32768

export interface Factors {
  readonly left: string
  readonly right: string
}

/**
 * The factors of left right, or left right^T, as they are best multiplied.
 *
 * Only a weight that the runtime lays out for itself is widened: the runtime does so once, when it opens the model, and then keeps no other copy.
 * Any other would lose the file that it is mapped from.
 */
export function apart(emit: Emitter, left: Operand, right: Operand, transposeRight: boolean): Factors {
  const [rows, width] = left.shape
  const columns = right.shape[transposeRight ? 0 : 1]
  const isWorthIt = typeof width === 'number' && width % CACHE_PERIOD === 0 && width <= WIDEST_ROW && Number(columns) >= LEAST_COLUMNS
  if (!right.isLaidOut || !isWorthIt) return { left: left.name, right: right.name }
  const more = transposeRight ? [columns!, EXTRA] : [EXTRA, columns!]
  return {
    left: emit.once(`apart ${left.name}`, () => joined(emit, [left.name, zeros(emit, [rows!, EXTRA])], 1)),
    right: emit.once(`apart ${right.name} ${transposeRight}`, () => joined(emit, [right.name, zeros(emit, more)], transposeRight ? 1 : 0)),
  }
}

function zeros(emit: Emitter, shape: readonly Dim[]): string {
  return emit.once(`zeros ${shape.join()}`, () =>
    emit.one('ConstantOfShape', [emit.shape(shape)], { attributes: { value: { scalar: 0 } } }),
  )
}

function joined(emit: Emitter, parts: readonly string[], axis: number): string {
  return emit.one('Concat', parts, { attributes: { axis: { int: axis } } })
}
