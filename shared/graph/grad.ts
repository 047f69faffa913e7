/**
 * @file Reverse-mode differentiation: appends to a builder the nodes that compute gradients of what it already holds.
 */
import type { ValueId } from './data.js'
import { byName, findOp, type Value, type GraphBuilder } from './graph.js'

/**
 * Vector-Jacobian product: sum over `seeds` of cotangent^T d(value)/d(wrt), for each of `wrt`; null where no path leads.
 *
 * Only nodes on a path from `wrt` to a seed are differentiated, so nothing is appended below the lowest of `wrt`. Some appended nodes
 * may serve no result: `extract` drops them.
 *
 * @param seeds values with their cotangents, each of the value's own shape.
 */
export function gradients(builder: GraphBuilder, seeds: readonly (readonly [Value, Value])[], wrt: readonly Value[]): (Value | null)[] {
  const forward = [...builder.nodes]
  const varies = new Set<ValueId>(wrt.map(({ id }) => id))
  for (const node of forward) if (node.inputs.some((id) => id !== null && varies.has(id))) for (const id of node.outputs) varies.add(id)

  const found = new Map<ValueId, Value>()
  const accumulate = (id: ValueId, more: Value): void => {
    const before = found.get(id)
    found.set(id, before ? before.add(more) : more)
  }
  for (const [value, cotangent] of seeds) accumulate(value.id, cotangent)

  for (const node of forward.reverse()) {
    // A node that makes one of `wrt` from what does not vary is not passed through.
    if (!node.inputs.some((id) => id !== null && varies.has(id)) || !node.outputs.some((id) => found.has(id))) continue
    const op = findOp(builder.ops, node.op)
    const grads = node.outputs.map((id) => found.get(id) ?? null)
    const outs = node.outputs.map((id) => builder.value(id))
    const grad = grads[0] ?? builder.constant(0).broadcastTo(outs[0].shape)
    const inputs = byName(
      op,
      node.inputs.map((id) => (id === null ? null : builder.value(id))),
    )
    const results = op.vjp({ ...inputs, grad, grads, out: outs[0], outs }, node.attributes)
    ;[...op.inputs, ...op.optional].forEach((name, position) => {
      const id = node.inputs[position]
      const result = results[name]
      if (id !== null && id !== undefined && result && varies.has(id)) accumulate(id, result)
    })
  }
  return wrt.map(({ id }) => found.get(id) ?? null)
}
