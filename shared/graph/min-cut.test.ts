import fc from 'fast-check'
import { expect, test } from 'vitest'
import { minimumCut, type Edge } from './min-cut.js'

const VERTICES = 6
const [SOURCE, SINK] = [0, VERTICES - 1]

const vertex = fc.nat({ max: VERTICES - 1 })
const networks = fc.array(fc.record({ from: vertex, to: vertex, capacity: fc.nat({ max: 5 }) }), { minLength: 1, maxLength: 14 })

function costOf(edges: readonly Edge[], side: ReadonlySet<number>): number {
  return edges.reduce((sum, { from, to, capacity }) => sum + (side.has(from) && !side.has(to) ? capacity : 0), 0)
}

/** Every set of vertices that holds the source and not the sink. */
function allCuts(): Set<number>[] {
  const others = Array.from({ length: VERTICES }, (_, id) => id).filter((id) => id !== SOURCE && id !== SINK)
  return Array.from({ length: 2 ** others.length }, (_, bits) => new Set([SOURCE, ...others.filter((_, place) => (bits >> place) & 1)]))
}

test('no other cut is cheaper', () => {
  fc.assert(
    fc.property(networks, (edges) => {
      const found = costOf(edges, new Set([SOURCE, ...minimumCut(edges, SOURCE, SINK)]))
      expect(found).toBe(Math.min(...allCuts().map((side) => costOf(edges, side))))
    }),
  )
})

test('of several cheapest cuts, the one nearest the sink is taken', () => {
  fc.assert(
    fc.property(networks, (edges) => {
      const cuts = allCuts()
      const least = Math.min(...cuts.map((side) => costOf(edges, side)))
      const found = minimumCut(edges, SOURCE, SINK)
      const connected = new Set(edges.flatMap(({ from, to }) => [from, to]))
      for (const side of cuts)
        if (costOf(edges, side) === least) for (const id of side) if (connected.has(id)) expect(found.has(id)).toBe(true)
    }),
  )
})

test('an edge of infinite capacity is never cut', () => {
  const edges = [
    { from: 0, to: 1, capacity: Infinity },
    { from: 1, to: 2, capacity: 7 },
    { from: 2, to: 3, capacity: Infinity },
    { from: 1, to: 3, capacity: 2 },
  ]
  expect(minimumCut(edges, 0, 3)).toEqual(new Set([0, 1]))
})

test('a network that only infinite edges hold together is a bug of its maker', () => {
  expect(() => minimumCut([{ from: 0, to: 1, capacity: Infinity }], 0, 1)).toThrow(/infinite/)
})
