/**
 * @file Rotary position embedding by the runtime's fused op.
 */
import type { Emitter } from '../emitter.js'
import type { Lowering } from './call.js'

/**
 * The fused op looks up tables of cosines and sines by position. They are made for the run's own tokens, and looked up in order, because a
 * table of all positions of a long-context model would be tens of megabytes in every program.
 */
export const rotary: Lowering = (emit, call) => {
  const [x, positions] = [call.input(0).name, call.input(1).name]
  const [frequencies, scale] = [call.numbers('frequencies'), call.number('scale')]
  const key = `rotary ${positions} ${scale} ${frequencies.join()}`
  const table = (opType: 'Cos' | 'Sin'): string =>
    emit.once(`${key} ${opType}`, () => {
      const values = emit.one(opType, [emit.once(key, () => angles(emit, positions, frequencies))])
      const own = frequencies.length % LANES === 0 ? values : firstColumns(emit, values, frequencies.length)
      return scale === 1 ? own : emit.one('Mul', [own, emit.floats([scale])])
    })
  const sin = table('Sin')
  const directed = call.flag('inverse') ? emit.once(`${key} -Sin`, () => emit.one('Neg', [sin])) : sin
  const axis = emit.integers([0])
  const row = emit.one('Unsqueeze', [x, axis])
  const turned = emit.one('RotaryEmbedding', [row, emit.integers([0]), table('Cos'), directed], { contrib: true })
  return [emit.one('Squeeze', [turned, axis])]
}

/** Numbers that a processor takes at once, at most. The runtime computes what is left of a tensor by another routine, with other last bits. */
const LANES = 16

/** Position times frequency, f32 [tokens, frequencies], filled up with columns of 0 until no row ends between lanes. */
function angles(emit: Emitter, positions: string, frequencies: readonly number[]): string {
  const columns = Math.ceil(frequencies.length / LANES) * LANES
  const filled = Array.from({ length: columns }, (_, i) => frequencies[i] ?? 0)
  const column = emit.one('Unsqueeze', [emit.one('Cast', [positions], { attributes: { to: { int: 1 } } }), emit.integers([1])])
  return emit.one('Mul', [column, emit.floats(filled, [1, columns])])
}

function firstColumns(emit: Emitter, x: string, count: number): string {
  return emit.one('Slice', [x, emit.integers([0]), emit.integers([count]), emit.integers([1])])
}
