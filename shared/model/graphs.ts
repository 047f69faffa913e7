/**
 * @file The graphs a model is used as: whole, with LoRA, ending in a loss or in logits; cut; with gradients.
 */
import type { Graph } from '../graph/data.js'
import { extract } from '../graph/extract.js'
import { gradients } from '../graph/grad.js'
import type { Value } from '../graph/graph.js'
import { newGraph } from '../graph/ops/index.js'
import { replay } from '../graph/replay.js'
import { CUT_VALUE } from './cut.js'
import type { Family } from './families/family.js'

export const gradName = (name: string): string => `grad.${name}`

/** A family and the configuration of one model of it. */
export interface ModelDefinition {
  readonly family: Family
  readonly config: unknown
}

/**
 * Outputs: `nll` f32 [], summed over the scored positions, in nats; and `loss` f32 [], the sum of (1 - e) nll + e mean_v(-log p_v) divided by
 * the input `normalizer`, where e = `smoothing` (transformers' label smoother).
 * The loss is computed only at scored positions: their rows are gathered before the final norm.
 */
export function lossGraph({ family, config }: ModelDefinition, smoothing: number): Graph {
  const b = newGraph()
  const hidden = family.trunk(b, config, batchValues(b))
  const scored = b.input('scored', 'i32', ['scored'])
  const targets = b.input('targets', 'i32', ['scored'])
  const { normed, weight } = family.head(b, config, hidden.gather(scored))
  const { nll, logSumExp } = normed.crossEntropyHead(weight, targets)
  const total = (x: Value): Value => x.sum([0]).reshape([])
  b.output('nll', total(nll))
  let loss = nll
  if (smoothing > 0) {
    // mean_v log p_v = h . mean_v W[v] - logSumExp
    const mean = weight.sum([0]).div(weight.shape[0] as number)
    const meanLogit = normed.gemm(mean, { transposeB: true }).reshape(['scored'])
    loss = nll.mul(1 - smoothing).add(logSumExp.sub(meanLogit).mul(smoothing))
  }
  b.output('loss', total(loss).div(b.input('normalizer', 'f32', [])))
  return b.finish()
}

/** Output: `logits` f32 [tokens, vocabulary]. */
export function logitsGraph({ family, config }: ModelDefinition): Graph {
  const b = newGraph()
  const { normed, weight } = family.head(b, config, family.trunk(b, config, batchValues(b)))
  b.output('logits', normed.gemm(weight, { transposeB: true }))
  return b.finish()
}

/** Names of the inputs that hold what earlier runs remembered, and of the outputs for the next. */
export const pastName = (name: string): string => `past.${name}`
export const presentName = (name: string): string => `present.${name}`

/**
 * Output: `logits` f32 [scored, vocabulary] of the positions in `scored`; and for every key and value that attention keeps, `present.<name>`:
 * the input `past.<name>` with the new positions behind it.
 */
export function generationGraph({ family, config }: ModelDefinition): Graph {
  const b = newGraph()
  const remember = (name: string, fresh: Value, axis: number): Value => {
    const shape = fresh.shape.map((dim, at) => (at === axis ? 'past' : dim))
    const joined = b.input(pastName(name), 'f32', shape).concat([fresh], axis)
    b.output(presentName(name), joined)
    return joined
  }
  const hidden = family.trunk(b, config, { ...batchValues(b), remember })
  const { normed, weight } = family.head(b, config, hidden.gather(b.input('scored', 'i32', ['scored'])))
  b.output('logits', normed.gemm(weight, { transposeB: true }))
  return b.finish()
}

function batchValues(b: ReturnType<typeof newGraph>) {
  return {
    ids: b.input('ids', 'i32', ['tokens']),
    positions: b.input('positions', 'i32', ['tokens']),
    slots: b.input('slots', 'i32', ['batch', 'longest']),
    places: b.input('places', 'i32', ['tokens']),
  }
}

/** Forward, loss and backward in one: adds `grad.<name>`, d(loss)/d(input), for each of `wrt`. */
export function withLossGradients(graph: Graph, wrt: readonly string[]): Graph {
  const builder = newGraph()
  const whole = replay(graph, builder)
  const loss = whole.output('loss')
  return withGradients(builder, [[loss, builder.constant(1)]], wrt, graph)
}

/** A bottom with its backward pass: adds the input `grad.hidden`, the cut value's gradient, and the outputs `grad.<name>`. */
export function withCutGradients(graph: Graph, wrt: readonly string[]): Graph {
  const builder = newGraph()
  const hidden = replay(graph, builder).output(CUT_VALUE)
  return withGradients(builder, [[hidden, builder.input(gradName(CUT_VALUE), 'f32', hidden.shape)]], wrt, graph)
}

function withGradients(
  builder: ReturnType<typeof newGraph>,
  seeds: readonly (readonly [Value, Value])[],
  wrt: readonly string[],
  graph: Graph,
): Graph {
  const inputs = wrt.map((name) => {
    const id = builder.values.findIndex(({ source }) => source.kind === 'input' && source.name === name)
    if (id < 0) throw new Error(`the graph has no input ${name}`)
    return builder.value(id)
  })
  gradients(builder, seeds, inputs).forEach((grad, i) => {
    builder.output(gradName(wrt[i]), grad ?? builder.constant(0).broadcastTo(inputs[i].shape))
  })
  return extract(
    builder.finish(),
    new Map([...graph.outputs.keys(), ...wrt.map(gradName)].map((name) => [name, builder.outputs.get(name)!])),
  )
}

/** Turns frozen weights into inputs of the same name, so that they can be trained. */
export function trainableWeights(graph: Graph, names: ReadonlySet<string>): Graph {
  return {
    ...graph,
    values: graph.values.map((value) =>
      value.source.kind === 'weight' && names.has(value.source.name)
        ? { ...value, source: { kind: 'input' as const, name: value.source.name } }
        : value,
    ),
  }
}
