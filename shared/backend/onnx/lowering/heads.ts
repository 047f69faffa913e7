/**
 * @file Between packed tokens and heads: every head of every token is a row, and one look-up by index moves it to where it belongs.
 */
import type { Dim } from '../../../graph/dims.js'
import type { Emitter } from '../emitter.js'
import type { Lowering } from './call.js'

/** A token has heads * parts rows. The slot -1, padding, leads to those of the last token: one of zeros is put there. */
export const toHeads: Lowering = (emit, call) => {
  const [x, slots] = [call.input(0), call.input(1)]
  const [heads, parts] = [call.number('heads'), call.number('parts')]
  const width = x.shape[1] as number
  const zero = emit.once(`zeros ${width}`, () => emit.one('Expand', [emit.floats([0]), emit.integers([1, width])]))
  const rows = asRows(emit, emit.one('Concat', [x.name, zero], axis(0)), width / (heads * parts))
  return Array.from({ length: parts }, (_, part) =>
    emit.one('Gather', [
      rows,
      emit.once(`to heads ${slots.name} ${heads} ${parts} ${part}`, () => headRows(emit, slots.name, heads, parts, part)),
    ]),
  )
}

/** Rows of one part, int64 [batch, heads, longest]: slot * heads * parts + part * heads + head. */
function headRows(emit: Emitter, slots: string, heads: number, parts: number, part: number): string {
  const slot = emit.one('Unsqueeze', [emit.one('Cast', [slots], { attributes: { to: { int: 7 } } }), emit.integers([1])])
  const numbers = Array.from({ length: heads }, (_, head) => part * heads + head)
  const head = emit.one('Reshape', [emit.integers(numbers), emit.integers([heads, 1])])
  return emit.one('Add', [emit.one('Mul', [slot, emit.integers(heads * parts)]), head])
}

export const fromHeads: Lowering = (emit, call) => {
  const [first, , places] = [call.input(0), call.input(1), call.input(2)]
  const others = [call.optionalName(3), call.optionalName(4)].filter((name) => name !== '')
  const [batch, heads, longest, size] = first.shape as [Dim, number, Dim, number]
  const parts = [first.name, ...others].map((part) => asRows(emit, part, size))
  const rows = parts.length === 1 ? parts[0]! : emit.one('Concat', parts, axis(0))
  const key = `from heads ${places.name} ${batch} ${longest} ${heads} ${parts.length}`
  const indices = emit.once(key, () => packedRows(emit, places.name, [batch, heads, longest], parts.length))
  return [emit.one('Reshape', [emit.one('Gather', [rows, indices]), emit.integers([-1, parts.length * heads * size])])]
}

/** Rows of each token, int64 [tokens, parts * heads]: ((part * batch + b) * heads + head) * longest + t, where b * longest + t is its place. */
function packedRows(emit: Emitter, places: string, [batch, heads, longest]: readonly [Dim, number, Dim], parts: number): string {
  const place = emit.one('Unsqueeze', [emit.one('Cast', [places], { attributes: { to: { int: 7 } } }), emit.integers([1])])
  const [length, rows] = [emit.dim(longest), emit.dim(batch)]
  // place + b (heads - 1) longest = (b heads) longest + t
  const b = emit.one('Div', [place, length])
  const own = emit.one('Add', [place, emit.one('Mul', [b, emit.one('Mul', [length, emit.integers(heads - 1)])])])
  const each = Array.from({ length: parts * heads }, (_, i) => i)
  const head = emit.one('Mul', [emit.integers(each.map((i) => i % heads)), length])
  if (parts === 1) return emit.one('Add', [own, head])
  const part = emit.one('Mul', [emit.integers(each.map((i) => Math.floor(i / heads) * heads)), emit.one('Mul', [rows, length])])
  return emit.one('Add', [own, emit.one('Add', [head, part])])
}

function asRows(emit: Emitter, x: string, size: number): string {
  return emit.one('Reshape', [x, emit.integers([-1, size])])
}

function axis(number: number) {
  return { attributes: { axis: { int: number } } }
}
