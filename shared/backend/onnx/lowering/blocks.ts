/**
 * @file Products with weights in 8-bit blocks, and rows of them.
 */
import { BLOCK, blocksIn, type Direction } from '../../blocks.js'
import type { BlockWeight, Emitter } from '../emitter.js'

/** Unset, the runtime turns blocks into float32 and multiplies those; 4 asks for 8-bit products. */
const ACCURACY = { inCodes: 4, inNumbers: 0 }

/**
 * x W^T along rows, x W along columns.
 * @param x f32 [m, columns] along rows, [m, rows] along columns
 * @param bias f32 [n]
 */
export function multiplyBlocks(emit: Emitter, x: string, weight: BlockWeight, direction: Direction, bias?: string): string {
  const [rows, columns] = weight.shape
  const [n, k] = direction === 'rows' ? [rows, columns] : [columns, rows]
  const codes = part(emit, weight, direction, 'codes', [n, blocksIn(k), BLOCK])
  const scales = part(emit, weight, direction, 'scales', [n * blocksIn(k)])
  const attributes = { N: n, K: k, bits: 8, block_size: BLOCK, accuracy_level: weight.inCodes ? ACCURACY.inCodes : ACCURACY.inNumbers }
  return emit.one('MatMulNBits', [x, codes, scales, ...(bias === undefined ? [] : ['', '', bias])], {
    attributes: Object.fromEntries(Object.entries(attributes).map(([name, int]) => [name, { int }])),
    contrib: true,
  })
}

/** Rows of the weight as float32 [n, columns]. @param indices i32 [n] */
export function gatherBlocks(emit: Emitter, weight: BlockWeight, indices: string): string {
  const [rows, columns] = weight.shape
  const padded = blocksIn(columns) * BLOCK
  const codes = part(emit, weight, 'rows', 'codes', [rows, padded])
  const scales = part(emit, weight, 'rows', 'scales', [rows, blocksIn(columns)])
  const gathered = emit.one('GatherBlockQuantized', [codes, indices, scales], {
    attributes: { bits: { int: 8 }, block_size: { int: BLOCK }, gather_axis: { int: 0 }, quantize_axis: { int: 1 } },
    contrib: true,
  })
  return padded === columns ? gathered : firstColumns(emit, gathered, columns)
}

/** All of the weight as float32 [rows, columns], for whatever else is done with it. */
export function numbersOfBlocks(emit: Emitter, weight: BlockWeight): string {
  const [rows, columns] = weight.shape
  return emit.once(`numbers of ${weight.name}`, () => {
    const shape = [rows, blocksIn(columns)]
    const codes = emit.one('Cast', [part(emit, weight, 'rows', 'codes', [...shape, BLOCK])], { attributes: { to: { int: 1 } } })
    const steps = emit.one('Sub', [codes, emit.floats([128])])
    const numbers = emit.one('Mul', [steps, part(emit, weight, 'rows', 'scales', [...shape, 1])])
    return firstColumns(emit, emit.one('Reshape', [numbers, emit.integers([rows, -1])]), columns)
  })
}

/** The same bytes may be declared in several shapes. */
function part(emit: Emitter, weight: BlockWeight, direction: Direction, which: 'codes' | 'scales', dims: readonly number[]): string {
  const name = `weight:${weight.name}#${direction}.${which}[${dims.join()}]`
  return emit.tensor(name, which === 'codes' ? 'u8' : 'f32', dims, weight.content[direction][which])
}

function firstColumns(emit: Emitter, x: string, columns: number): string {
  return emit.one('Slice', [x, emit.integers([0]), emit.integers([columns]), emit.integers([1])])
}
