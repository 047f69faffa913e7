/**
 * @file Cuts a model at the residual stream between blocks. One function makes a bottom and a top, a head, body and tail, or any number of hops.
 */
import { UserError } from '../errors.js'
import type { Graph } from '../graph/data.js'
import { extract } from '../graph/extract.js'

/** Every piece but the last returns this; every piece but the first takes it as an input. f32 [tokens, hidden]. */
export const CUT_VALUE = 'hidden'

/**
 * Cuts before block `k` for each of `layers`, ascending; `k` = number of blocks cuts after the last. The pieces in order, together
 * computing what the whole does.
 * @throws UserError CUT_OUT_OF_RANGE
 */
export function cut(graph: Graph, layers: readonly number[]): Graph[] {
  const count = [...graph.marks.keys()].filter((name) => name.startsWith('hidden.')).length - 1
  const places = layers.map((layer) => {
    const id = graph.marks.get(`hidden.${layer}`)
    if (id === undefined) throw cutOutOfRange(layer, count)
    return id
  })
  return [...places, null].map((end, piece) => {
    const start = piece === 0 ? null : places[piece - 1]
    const outputs = end === null ? graph.outputs : new Map([[CUT_VALUE, end]])
    return extract(graph, outputs, start === null ? new Map() : new Map([[start, CUT_VALUE]]))
  })
}

export function cutOutOfRange(layer: number, layers: number): UserError {
  return new UserError({
    code: 'CUT_OUT_OF_RANGE',
    what: `split.cut_layer is ${layer}`,
    why: `this model has ${layers} blocks`,
    fix: `choose a cut from 0 (all blocks on the server) to ${layers} (all on the clients)`,
  })
}
