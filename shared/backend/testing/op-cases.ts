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
  readonly sizes: readonly Sizes[]
  /** Large enough that a backend shares the work among threads. */
  readonly large: Sizes
}

type Sizes = Readonly<Record<string, number>>

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

const HEADS = real(['batch', 2, 'longest', 4])

/** One row without padding, one token, and rows of unlike lengths. */
const PACKED = {
  sizes: [
    { batch: 1, longest: 3, tokens: 3 },
    { batch: 1, longest: 1, tokens: 1 },
    { batch: 3, longest: 4, tokens: 9 },
  ],
  large: { batch: 8, longest: 200, tokens: 8 * 200 - 28 },
}
const ROWS = { sizes: [{ n: 5 }, { n: 1 }, { n: 64 }], large: { n: 5000 } }
const MATRICES = {
  sizes: [
    { m: 5, k: 8 },
    { m: 1, k: 1 },
    { m: 33, k: 48 },
  ],
  large: { m: 300, k: 257 },
}
const WITH_PAST = {
  sizes: [
    { k: 2, past: 3 },
    { k: 1, past: 0 },
  ],
  large: { k: 300, past: 20 },
}
const BATCHES = {
  sizes: [
    { batch: 2, m: 5, k: 8 },
    { batch: 1, m: 1, k: 16 },
  ],
  large: { batch: 8, m: 60, k: 100 },
}

function unary(...inputs: readonly OpInput[]): OpCase[] {
  return [{ title: 'any shape', inputs, sizes: [{ n: 4 }, { n: 1 }, { n: 500 }], large: { n: 3000 } }]
}

const UNARY = unary(real(['n', 3, 7]))

const BINARY: OpCase[] = [
  { title: 'one shape', inputs: [real(['n', 5]), real(['n', 5], 'positive')], ...ROWS },
  { title: 'a row and a column', inputs: [real(['n', 1]), real([1, 6], 'positive')], ...ROWS },
  { title: 'a vector', inputs: [real([6]), real(['n', 6], 'positive')], ...ROWS },
  { title: 'a scalar', inputs: [real(['n', 2]), real([], 'positive')], ...ROWS },
]

/** The four ways to transpose, for operands with axes `lead` before [m, k] and [k, columns]. */
function products(lead: readonly Dim[], columns: number, sizes: Pick<OpCase, 'sizes' | 'large'>): OpCase[] {
  return [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({
      title: `A${transposeA ? '^T' : ''} B${transposeB ? '^T' : ''}, ${columns} columns`,
      inputs: [
        real([...lead, ...(transposeA ? ['k', 'm'] : ['m', 'k'])]),
        real([...lead, ...(transposeB ? [columns, 'k'] : ['k', columns])]),
      ],
      attributes: { transposeA, transposeB },
      ...sizes,
    })),
  )
}

/** As a head of 32 numbers has them. */
const SIXTEEN = Array.from({ length: 16 }, (_, i) => 10000 ** (-i / 16))

/** Tokens at positions up to some thousands. */
function rotaryCase(title: string, columns: number, attributes: Attributes): OpCase {
  return { title, inputs: [real(['n', columns]), rowsOf(['n'], () => 5000)], attributes, ...ROWS }
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
  silu: UNARY,
  silu_grad: unary(real(['n', 9]), real(['n', 9])),
  gelu_grad: unary(real(['n', 9]), real(['n', 9])),
  log: unary(real(['n', 9], 'positive')),
  sqrt: unary(real(['n', 9], 'positive')),
  softmax: [
    { title: 'over keys', inputs: [real(['batch', 'm', 'k'])], ...BATCHES },
    { title: 'of a vector', inputs: [real(['k'])], ...MATRICES },
  ],
  sum: [
    { title: 'the last axis', inputs: [real(['n', 24])], attributes: { axes: [1] }, ...ROWS },
    { title: 'the first axis', inputs: [real(['n', 3])], attributes: { axes: [0] }, ...ROWS },
    { title: 'two axes', inputs: [real(['n', 3, 4])], attributes: { axes: [0, 2] }, ...ROWS },
  ],
  sum_to: [
    { title: 'a leading axis away', inputs: [real(['n', 7])], attributes: { shape: [7] }, ...ROWS },
    { title: 'an axis to 1', inputs: [real(['n', 7])], attributes: { shape: ['n', 1] }, ...ROWS },
    { title: 'a leading axis away and one to 1', inputs: [real([2, 'n', 7])], attributes: { shape: ['n', 1] }, ...ROWS },
    { title: 'to a scalar', inputs: [real(['n', 7])], attributes: { shape: [] }, ...ROWS },
  ],
  broadcast_to: [
    { title: 'new leading axes', inputs: [real([4]), real(['n'])], attributes: { shape: ['n', 'n', 4] }, ...ROWS },
    { title: 'an axis of 1', inputs: [real(['n', 1])], attributes: { shape: ['n', 3] }, ...ROWS },
  ],
  reshape: [
    { title: 'to heads', inputs: [real(['batch', 'm', 6])], attributes: { shape: ['batch', 'm', 2, 3] }, ...BATCHES },
    { title: 'flat', inputs: [real(['batch', 'm', 6])], attributes: { shape: ['batch*m', 6] }, ...BATCHES },
    {
      title: 'to sizes of other inputs',
      inputs: [real(['batch*m', 6]), real(['m']), real(['batch'])],
      attributes: { shape: ['batch', 'm', 6] },
      ...BATCHES,
    },
    { title: 'integers', inputs: [SLOTS], attributes: { shape: ['batch*longest'] }, ...PACKED },
  ],
  transpose: [
    { title: 'two axes', inputs: [real(['m', 'k'])], attributes: { permutation: [1, 0] }, ...MATRICES },
    { title: 'heads', inputs: [real(['batch', 'm', 2, 3])], attributes: { permutation: [0, 2, 1, 3] }, ...BATCHES },
  ],
  split: [
    { title: 'columns', inputs: [real(['n', 12])], attributes: { axis: 1, count: 3 }, ...ROWS },
    { title: 'rows', inputs: [real([4, 'n'])], attributes: { axis: 0, count: 2 }, ...ROWS },
  ],
  concat: [
    { title: 'two, rows', inputs: [real(['n', 3]), real([2, 3])], attributes: { axis: 0 }, ...ROWS },
    { title: 'three, columns', inputs: [real(['n', 3]), real(['n', 1]), real(['n', 2])], attributes: { axis: 1 }, ...ROWS },
  ],
  slice_like: [
    { title: 'two, columns', inputs: [real(['n', 5]), real(['n', 3]), real(['n', 2])], attributes: { axis: 1 }, ...ROWS },
    {
      title: 'three, rows',
      inputs: [real(['n+m+2', 3]), real(['n', 3]), real(['m', 3]), real([2, 3])],
      attributes: { axis: 0 },
      sizes: [{ n: 4, m: 1 }],
      large: { n: 3000, m: 2000 },
    },
  ],
  matmul: [...products(['batch', 2], 6, BATCHES), ...products([], 70, MATRICES)],
  gemm: [
    ...products([], 6, MATRICES),
    ...products([], 512, MATRICES),
    {
      title: 'with a bias',
      inputs: [real(['m', 'k']), real([6, 'k']), real([6])],
      attributes: PLAIN_PRODUCT,
      ...MATRICES,
    },
    {
      title: 'with an addend',
      inputs: [real(['m', 'k']), real([6, 'k']), real(['m', 6])],
      attributes: PLAIN_PRODUCT,
      ...MATRICES,
    },
  ],
  layer_norm: [
    {
      title: 'rows',
      inputs: [real(['n', 32]), real([32]), real([32])],
      attributes: { epsilon: 1e-5 },
      ...ROWS,
    },
  ],
  rms_norm: [{ title: 'rows', inputs: [real(['n', 32]), real([32])], attributes: { epsilon: 1e-6 }, ...ROWS }],
  rotary: [
    rotaryCase('a head', 4, { frequencies: [1, 0.1], scale: 1, inverse: false }),
    rotaryCase('heads, scaled', 6 * 32, { frequencies: SIXTEEN, scale: 1.25, inverse: false }),
    rotaryCase('back', 2 * 6, { frequencies: [1, 0.25, 0.01], scale: 1, inverse: true }),
  ],
  gather: [{ title: 'rows of a table', inputs: [real([11, 4]), rowsOf(['n'], () => 11)], ...ROWS }],
  scatter_rows: [{ title: 'repeated rows', inputs: [real(['n', 4]), rowsOf(['n'], () => 11)], attributes: { rows: [11] }, ...ROWS }],
  to_heads: [
    { title: 'with padding', inputs: [real(['tokens', 6]), SLOTS, PLACES], attributes: { heads: 3, parts: 1 }, ...PACKED },
    { title: 'in three parts', inputs: [real(['tokens', 24]), SLOTS, PLACES], attributes: { heads: 2, parts: 3 }, ...PACKED },
  ],
  from_heads: [
    { title: 'with padding', inputs: [real(['batch', 3, 'longest', 2]), SLOTS, PLACES], ...PACKED },
    {
      title: 'in three parts',
      inputs: [HEADS, SLOTS, PLACES, HEADS, HEADS],
      ...PACKED,
    },
  ],
  causal_mask: [
    { title: 'all tokens', inputs: [real(['k'])], attributes: { size: ['k', 'k'], window: 0 }, ...MATRICES },
    { title: 'a window', inputs: [real(['k'])], attributes: { size: ['k', 'k'], window: 3 }, ...MATRICES },
    {
      title: 'the last tokens',
      inputs: [real(['k']), real(['past'])],
      attributes: { size: ['k', 'k+past'], window: 0 },
      ...WITH_PAST,
    },
    {
      title: 'a window on the last tokens',
      inputs: [real(['k']), real(['past'])],
      attributes: { size: ['k', 'k+past'], window: 2 },
      ...WITH_PAST,
    },
  ],
  cross_entropy_head: [
    { title: 'a vocabulary', inputs: [real(['n', 16]), real([29, 16]), rowsOf(['n'], () => 29)], ...ROWS, large: { n: 600 } },
  ],
}
