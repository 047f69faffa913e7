/**
 * @file Dimensions of shapes: integers, or sums of products of named symbols such as `2*batch*longest+past`.
 *
 * Expressions are kept in one canonical spelling, so two dimensions are equal exactly when they are `===`.
 */
import { unreachable } from '../errors.js'

export type Dim = number | string

/** What each symbol stands for in one run. */
export type Bindings = ReadonlyMap<string, number>

/** Coefficient of each monomial; a monomial is its sorted symbols joined by `*`, and '' is the constant one. */
type Polynomial = Map<string, number>

function parse(dim: Dim): Polynomial {
  if (typeof dim === 'number') return new Map([['', dim]])
  const terms: Polynomial = new Map()
  for (const term of dim.split('+')) {
    const factors = term.split('*')
    const coefficient = /^\d+$/.test(factors[0]) ? Number(factors.shift()) : 1
    const monomial = factors.sort().join('*')
    terms.set(monomial, (terms.get(monomial) ?? 0) + coefficient)
  }
  return terms
}

function print(terms: Polynomial): Dim {
  const parts = [...terms].filter(([, coefficient]) => coefficient !== 0).sort(([a], [b]) => (a < b ? 1 : -1))
  if (parts.length === 0) return 0
  if (parts.length === 1 && parts[0][0] === '') return parts[0][1]
  return parts
    .map(([monomial, coefficient]) => (monomial === '' ? `${coefficient}` : coefficient === 1 ? monomial : `${coefficient}*${monomial}`))
    .join('+')
}

export function dimSum(dims: readonly Dim[]): Dim {
  const terms: Polynomial = new Map()
  for (const dim of dims) for (const [monomial, value] of parse(dim)) terms.set(monomial, (terms.get(monomial) ?? 0) + value)
  return print(terms)
}

export function dimProduct(dims: readonly Dim[]): Dim {
  let product: Polynomial = new Map([['', 1]])
  for (const dim of dims) {
    const next: Polynomial = new Map()
    for (const [left, leftValue] of product)
      for (const [right, rightValue] of parse(dim)) {
        const monomial = [...left.split('*'), ...right.split('*')].filter(Boolean).sort().join('*')
        next.set(monomial, (next.get(monomial) ?? 0) + leftValue * rightValue)
      }
    product = next
  }
  return print(product)
}

/** The symbols a dimension is made of; none for an integer. */
export function dimSymbols(dim: Dim): string[] {
  return [...new Set([...parse(dim).keys()].flatMap((monomial) => monomial.split('*').filter(Boolean)))]
}

export function evaluateDim(dim: Dim, bindings: Bindings): number {
  if (typeof dim === 'number') return dim
  let sum = 0
  for (const [monomial, coefficient] of parse(dim)) {
    let product = coefficient
    for (const symbol of monomial.split('*').filter(Boolean))
      product *= bindings.get(symbol) ?? unreachable(`no value for the dimension ${symbol}`)
    sum += product
  }
  return sum
}

export function evaluateShape(shape: readonly Dim[], bindings: Bindings): number[] {
  return shape.map((dim) => evaluateDim(dim, bindings))
}

export function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis])
}

/** Shape of an elementwise result: axes are aligned at the end, and an axis of 1 stretches. */
export function broadcastShape(a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1
    const right = b[axis - rank + b.length] ?? 1
    if (left === right || right === 1) return left
    if (left === 1) return right
    return unreachable(`shapes [${a.join(', ')}] and [${b.join(', ')}] do not broadcast`)
  })
}
