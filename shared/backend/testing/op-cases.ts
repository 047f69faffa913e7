/**
 * @file For every op, programs with symbolic shapes and the sizes to run them at: what each backend must compute as the kernels do.
 */
import type { Attributes, Spec } from '../../graph/data.js'
import type { Bindings, Dim } from '../../graph/dims.js'
import type { OpName } from '../../graph/ops/index.js'

/** How an input's numbers are chosen. */
export type Fill = 'normal' | 'positive' | ((sizes: Bindings, count: number) => readonly number[])

export interface OpInput extends Spec {
  readonly fill: Fill
}

export interface OpCase {
  readonly title: string
  readonly inputs: readonly OpInput[]
  readonly attributes?: Attributes
  /** One program serves all of these. */
  readonly sizes: readonly Readonly<Record<string, number>>[]
}

function real(shape: readonly Dim[], fill: Fill = 'normal'): OpInput {
  return { dtype: 'f32', shape, fill }
}

/** Row indices, repeated and out of order. */
function rowsOf(shape: readonly Dim[], rows: (sizes: Bindings) => number): OpInput {
  return { dtype: 'i32', shape, fill: (sizes, count) => Array.from({ length: count }, (_, i) => (i * 7 + (i % 3)) % rows(sizes)) }
}

/** Row b of a batch has longest - b tokens, at least one. */
function lengths(sizes: Bindings): number[] {
  const longest = sizes.get('longest')!
  return Array.from({ length: sizes.get('batch')! }, (_, row) => Math.max(1, longest - row))
}

const SLOTS: OpInput = {
  dtype: 'i32',
  shape: ['batch', 'longest'],
  fill(sizes) {
    let token = 0
    return lengths(sizes).flatMap((length) => Array.from({ length: sizes.get('longest')! }, (_, at) => (at < length ? token++ : -1)))
  },
}

const PLACES: OpInput = {
  dtype: 'i32',
  shape: ['tokens'],
  fill: (sizes) => lengths(sizes).flatMap((length, row) => Array.from({ length }, (_, at) => row * sizes.get('longest')! + at)),
}

/** One row without padding, one token, and rows of unlike lengths. */
const PACKED = [
  { batch: 1, longest: 3, tokens: 3 },
  { batch: 1, longest: 1, tokens: 1 },
  { batch: 3, longest: 4, tokens: 9 },
]
const ROWS = [{ n: 5 }, { n: 1 }, { n: 64 }]
const MATRICES = [
  { m: 5, k: 8 },
  { m: 1, k: 1 },
  { m: 33, k: 48 },
]
const BATCHES = [
  { batch: 2, m: 5, k: 8 },
  { batch: 1, m: 1, k: 16 },
]

function unary(...inputs: readonly OpInput[]): OpCase[] {
  return [{ title: 'any shape', inputs, sizes: [{ n: 4 }, { n: 1 }, { n: 500 }] }]
}

const UNARY = unary(real(['n', 3, 7]))

const BINARY: OpCase[] = [
  { title: 'one shape', inputs: [real(['n', 5]), real(['n', 5], 'positive')], sizes: ROWS },
  { title: 'a row and a column', inputs: [real(['n', 1]), real([1, 6], 'positive')], sizes: ROWS },
  { title: 'a vector', inputs: [real([6]), real(['n', 6], 'positive')], sizes: ROWS },
  { title: 'a scalar', inputs: [real(['n', 2]), real([], 'positive')], sizes: ROWS },
]

/** The four ways to transpose, for operands with axes `lead` before [m, k] and [k, 6]. */
function products(lead: readonly Dim[], sizes: OpCase['sizes']): OpCase[] {
  return [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({
      title: `A${transposeA ? '^T' : ''} B${transposeB ? '^T' : ''}`,
      inputs: [real([...lead, ...(transposeA ? ['k', 'm'] : ['m', 'k'])]), real([...lead, ...(transposeB ? [6, 'k'] : ['k', 6])])],
      attributes: { transposeA, transposeB },
      sizes,
    })),
  )
}

const PLAIN_PRODUCT = { transposeA: false, transposeB: true }

export const opCases: Readonly<Record<OpName, readonly OpCase[]>> = {
  add: BINARY,
  sub: BINARY,
  mul: BINARY,
  div: BINARY,
  neg: UNARY,
  exp: UNARY,
  erf: UNARY,
  tanh: UNARY,
  relu: UNARY,
  positive: UNARY,
  gelu: UNARY,
  gelu_grad: unary(real(['n', 9]), real(['n', 9])),
  log: unary(real(['n', 9], 'positive')),
  sqrt: unary(real(['n', 9], 'positive')),
  softmax: [
    { title: 'over keys', inputs: [real(['batch', 'm', 'k'])], sizes: BATCHES },
    { title: 'of a vector', inputs: [real(['k'])], sizes: MATRICES },
  ],
  sum: [
    { title: 'the last axis', inputs: [real(['n', 24])], attributes: { axes: [1] }, sizes: ROWS },
    { title: 'the first axis', inputs: [real(['n', 3])], attributes: { axes: [0] }, sizes: ROWS },
    { title: 'two axes', inputs: [real(['n', 3, 4])], attributes: { axes: [0, 2] }, sizes: ROWS },
  ],
  sum_to: [
    { title: 'a leading axis away', inputs: [real(['n', 7])], attributes: { shape: [7] }, sizes: ROWS },
    { title: 'an axis to 1', inputs: [real(['n', 7])], attributes: { shape: ['n', 1] }, sizes: ROWS },
    { title: 'a leading axis away and one to 1', inputs: [real([2, 'n', 7])], attributes: { shape: ['n', 1] }, sizes: ROWS },
    { title: 'to a scalar', inputs: [real(['n', 7])], attributes: { shape: [] }, sizes: ROWS },
  ],
  broadcast_to: [
    { title: 'new leading axes', inputs: [real([4]), real(['n'])], attributes: { shape: ['n', 'n', 4] }, sizes: ROWS },
    { title: 'an axis of 1', inputs: [real(['n', 1])], attributes: { shape: ['n', 3] }, sizes: ROWS },
  ],
  reshape: [
    { title: 'to heads', inputs: [real(['batch', 'm', 6])], attributes: { shape: ['batch', 'm', 2, 3] }, sizes: BATCHES },
    { title: 'flat', inputs: [real(['batch', 'm', 6])], attributes: { shape: ['batch*m', 6] }, sizes: BATCHES },
    {
      title: 'to sizes of other inputs',
      inputs: [real(['batch*m', 6]), real(['m']), real(['batch'])],
      attributes: { shape: ['batch', 'm', 6] },
      sizes: BATCHES,
    },
    { title: 'integers', inputs: [{ ...SLOTS }], attributes: { shape: ['batch*longest'] }, sizes: PACKED.map((sizes) => ({ ...sizes })) },
  ],
  transpose: [
    { title: 'two axes', inputs: [real(['m', 'k'])], attributes: { permutation: [1, 0] }, sizes: MATRICES },
    { title: 'heads', inputs: [real(['batch', 'm', 2, 3])], attributes: { permutation: [0, 2, 1, 3] }, sizes: BATCHES },
  ],
  split: [
    { title: 'columns', inputs: [real(['n', 12])], attributes: { axis: 1, count: 3 }, sizes: ROWS },
    { title: 'rows', inputs: [real([4, 'n'])], attributes: { axis: 0, count: 2 }, sizes: ROWS },
  ],
  concat: [
    { title: 'two, rows', inputs: [real(['n', 3]), real([2, 3])], attributes: { axis: 0 }, sizes: ROWS },
    { title: 'three, columns', inputs: [real(['n', 3]), real(['n', 1]), real(['n', 2])], attributes: { axis: 1 }, sizes: ROWS },
  ],
  slice_like: [
    { title: 'two, columns', inputs: [real(['n', 5]), real(['n', 3]), real(['n', 2])], attributes: { axis: 1 }, sizes: ROWS },
    {
      title: 'three, rows',
      inputs: [real(['n+m+2', 3]), real(['n', 3]), real(['m', 3]), real([2, 3])],
      attributes: { axis: 0 },
      sizes: [{ n: 4, m: 1 }],
    },
  ],
  matmul: [...products(['batch', 2], BATCHES), ...products([], MATRICES)],
  gemm: [
    ...products([], MATRICES),
    {
      title: 'with a bias',
      inputs: [real(['m', 'k']), real([6, 'k']), real([6])],
      attributes: PLAIN_PRODUCT,
      sizes: MATRICES,
    },
    {
      title: 'with an addend',
      inputs: [real(['m', 'k']), real([6, 'k']), real(['m', 6])],
      attributes: PLAIN_PRODUCT,
      sizes: MATRICES,
    },
  ],
  layer_norm: [
    {
      title: 'rows',
      inputs: [real(['n', 32]), real([32]), real([32])],
      attributes: { epsilon: 1e-5 },
      sizes: ROWS,
    },
  ],
  gather: [{ title: 'rows of a table', inputs: [real([11, 4]), rowsOf(['n'], () => 11)], sizes: ROWS }],
  scatter_rows: [{ title: 'repeated rows', inputs: [real(['n', 4]), rowsOf(['n'], () => 11)], attributes: { rows: [11] }, sizes: ROWS }],
  unpack: [{ title: 'with padding', inputs: [real(['tokens', 4]), SLOTS, PLACES], sizes: PACKED }],
  pack: [{ title: 'with padding', inputs: [real(['batch', 'longest', 4]), SLOTS, PLACES], sizes: PACKED }],
  causal_mask: [
    { title: 'all tokens', inputs: [real(['k'])], attributes: { size: ['k', 'k'] }, sizes: MATRICES },
    {
      title: 'the last tokens',
      inputs: [real(['k']), real(['past'])],
      attributes: { size: ['k', 'k+past'] },
      sizes: [
        { k: 2, past: 3 },
        { k: 1, past: 0 },
      ],
    },
  ],
  cross_entropy_head: [{ title: 'a vocabulary', inputs: [real(['n', 16]), real([29, 16]), rowsOf(['n'], () => 29)], sizes: ROWS }],
}
