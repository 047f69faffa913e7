/**
 * @file Minimum cut of a directed graph: shortest augmenting paths.
 *
 * Source: Edmonds & Karp 1972, "Theoretical improvements in algorithmic efficiency for network flow problems", JACM 19(2).
 */
export interface Edge {
  readonly from: number
  readonly to: number
  /** Infinity: may never be cut. */
  readonly capacity: number
}

/**
 * The vertices on the source's side of a cheapest cut; of several, the one nearest the sink.
 * @throws Error if every cut crosses an edge of infinite capacity (a bug in the caller's network).
 */
export function minimumCut(edges: readonly Edge[], source: number, sink: number): Set<number> {
  // Arcs 2i and 2i + 1 are an edge and its reverse; pushing flow along one frees capacity on the other.
  const heads: number[] = []
  const room: number[] = []
  const leaving = new Map<number, number[]>()
  for (const { from, to, capacity } of edges) {
    arc(from, to, capacity)
    arc(to, from, 0)
  }
  function arc(from: number, to: number, capacity: number): void {
    leaving.set(from, [...(leaving.get(from) ?? []), heads.length])
    heads.push(to)
    room.push(capacity)
  }
  for (;;) {
    const via = new Map<number, number>([[source, -1]])
    const queue = [source]
    for (let next = 0; next < queue.length && !via.has(sink); next++)
      for (const a of leaving.get(queue[next]) ?? [])
        if (room[a] > 0 && !via.has(heads[a])) {
          via.set(heads[a], a)
          queue.push(heads[a])
        }
    if (!via.has(sink)) return sourceSide()
    const path: number[] = []
    for (let at = sink; at !== source; at = heads[path.at(-1)! ^ 1]!) path.push(via.get(at)!)
    const flow = Math.min(...path.map((a) => room[a]))
    if (flow === Infinity) throw new Error('every cut of this network is infinite')
    for (const a of path) {
      room[a] -= flow
      room[a ^ 1] += flow
    }
  }

  function sourceSide(): Set<number> {
    const reachesSink = new Set([sink])
    for (const vertex of reachesSink) for (const a of leaving.get(vertex) ?? []) if (room[a ^ 1] > 0) reachesSink.add(heads[a])
    return new Set([...leaving.keys()].filter((vertex) => !reachesSink.has(vertex)))
  }
}
