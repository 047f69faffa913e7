/**
 * @file What Llama and its relatives share: pre-norm blocks of grouped-query attention with rotary positions and a gated feed-forward layer.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971, section 2.2; tensors are called as in transformers.
 */
import { dimProduct } from '../../graph/dims.js'
import type { GraphBuilder, Value } from '../../graph/graph.js'
import { activations, type ActivationName } from './activations.js'
import { attention } from './attention.js'
import type { BatchValues, Family, LinearModule } from './family.js'
import type { Rope } from './rope-frequencies.js'

/** Everything in which one such model differs from another. */
export interface LlamaShape {
  readonly vocabularySize: number
  readonly hiddenSize: number
  /** Width of the feed-forward layer. */
  readonly innerSize: number
  readonly layers: number
  readonly heads: number
  /** Divides `heads`. */
  readonly keyHeads: number
  readonly headSize: number
  readonly maxPositions: number
  readonly activation: ActivationName
  readonly normEpsilon: number
  readonly rope: Rope
  /** Which linear layers add a bias: those to queries, keys and values; that from the heads; those of the feed-forward layer. */
  readonly biases: { readonly qkv: boolean; readonly output: boolean; readonly feedForward: boolean }
  /** Whether each head's query and key are normalised before they are rotated. */
  readonly headNorms: boolean
  /** Of each block: how many tokens one sees, itself included; null: all. */
  readonly windows: readonly (number | null)[]
  /** Whether the head is the embedding. */
  readonly tiedHead: boolean
}

interface Linear extends LinearModule {
  readonly bias: boolean
}

const EMBEDDING = 'model.embed_tokens.weight'
const HEAD = 'lm_head.weight'

/** What is the same in all of these families; each adds how its config.json is read. */
export const llamaShaped = {
  defaultTargets: ['q_proj', 'v_proj'],
  fanInFanOut: false,
  embeddings: [EMBEDDING],
  headWeight: HEAD,

  architecture: ({ layers, hiddenSize, vocabularySize, maxPositions }) => ({ layers, hiddenSize, vocabularySize, maxPositions }),

  tensors(c) {
    const shapes = new Map<string, readonly number[]>([[EMBEDDING, [c.vocabularySize, c.hiddenSize]]])
    for (let block = 0; block < c.layers; block++) {
      const path = pathOf(block)
      for (const linear of Object.values(blockLinears(c, block))) {
        shapes.set(`${linear.path}.weight`, [linear.out, linear.in])
        if (linear.bias) shapes.set(`${linear.path}.bias`, [linear.out])
      }
      if (c.headNorms) for (const norm of ['q_norm', 'k_norm']) shapes.set(`${path}.self_attn.${norm}.weight`, [c.headSize])
      for (const norm of ['input_layernorm', 'post_attention_layernorm']) shapes.set(`${path}.${norm}.weight`, [c.hiddenSize])
    }
    shapes.set('model.norm.weight', [c.hiddenSize])
    if (!c.tiedHead) shapes.set(HEAD, [c.vocabularySize, c.hiddenSize])
    return shapes
  },

  rename(name) {
    if (name.endsWith('.rotary_emb.inv_freq')) return null // old checkpoints carry what config.json says
    return name === HEAD || name.startsWith('model.') ? name : `model.${name}`
  },

  linears: (c) =>
    Array.from({ length: c.layers }, (_, block) =>
      Object.values(blockLinears(c, block)).map(({ path, in: from, out }) => ({ path, in: from, out })),
    ).flat(),

  blockOf(name) {
    const match = /^model\.layers\.(\d+)\./.exec(name)
    return match ? Number(match[1]) : null
  },

  trunk(b, c, batch) {
    let hidden = embedding(b, c).gather(batch.ids)
    for (let block = 0; block < c.layers; block++) {
      b.mark(`hidden.${block}`, hidden)
      const path = pathOf(block)
      hidden = selfAttention(b, c, block, norm(b, c, `${path}.input_layernorm`, hidden), batch).add(hidden)
      hidden = feedForward(b, c, block, norm(b, c, `${path}.post_attention_layernorm`, hidden)).add(hidden)
    }
    b.mark(`hidden.${c.layers}`, hidden)
    return hidden
  },

  head: (b, c, hidden) => ({
    normed: norm(b, c, 'model.norm', hidden),
    weight: c.tiedHead ? embedding(b, c) : b.weight(HEAD, [c.vocabularySize, c.hiddenSize]),
  }),
} satisfies Omit<Family<LlamaShape>, 'name' | 'modelTypes' | 'architectures' | 'parse'>

function pathOf(block: number): string {
  return `model.layers.${block}`
}

type LinearName = 'q' | 'k' | 'v' | 'output' | 'gate' | 'up' | 'down'

function blockLinears(c: LlamaShape, block: number): Readonly<Record<LinearName, Linear>> {
  const { hiddenSize, innerSize, biases } = c
  const [attention, mlp] = [`${pathOf(block)}.self_attn`, `${pathOf(block)}.mlp`]
  const [queries, keys] = [c.heads * c.headSize, c.keyHeads * c.headSize]
  return {
    q: { path: `${attention}.q_proj`, in: hiddenSize, out: queries, bias: biases.qkv },
    k: { path: `${attention}.k_proj`, in: hiddenSize, out: keys, bias: biases.qkv },
    v: { path: `${attention}.v_proj`, in: hiddenSize, out: keys, bias: biases.qkv },
    output: { path: `${attention}.o_proj`, in: queries, out: hiddenSize, bias: biases.output },
    gate: { path: `${mlp}.gate_proj`, in: hiddenSize, out: innerSize, bias: biases.feedForward },
    up: { path: `${mlp}.up_proj`, in: hiddenSize, out: innerSize, bias: biases.feedForward },
    down: { path: `${mlp}.down_proj`, in: innerSize, out: hiddenSize, bias: biases.feedForward },
  }
}

function embedding(b: GraphBuilder, c: LlamaShape): Value {
  return b.weight(EMBEDDING, [c.vocabularySize, c.hiddenSize])
}

function norm(b: GraphBuilder, c: LlamaShape, path: string, x: Value): Value {
  return x.rmsNorm(b.weight(`${path}.weight`, [x.shape[1]]), c.normEpsilon)
}

/** y = x W^T + bias: these models store W as [out, in]. */
function linear(b: GraphBuilder, { path, in: from, out, bias }: Linear, x: Value): Value {
  const weight = b.weight(`${path}.weight`, [out, from])
  return x.gemm(weight, { transposeB: true, add: bias ? b.weight(`${path}.bias`, [out]) : undefined })
}

/** Queries and keys know their positions by rotation, values do not. */
function selfAttention(b: GraphBuilder, c: LlamaShape, block: number, x: Value, batch: BatchValues): Value {
  const linears = blockLinears(c, block)
  const located = (which: 'q' | 'k'): Value => {
    const heads = linear(b, linears[which], x)
    const normed = c.headNorms ? headwiseNorm(b, c, `${pathOf(block)}.self_attn.${which}_norm`, heads) : heads
    return normed.rotary(batch.positions, c.rope.frequencies, c.rope.scale)
  }
  const inHeads = (tokens: Value, heads: number): Value => tokens.toHeads(batch.slots, batch.places, { heads, parts: 1 })[0]
  const q = inHeads(located('q'), c.heads)
  const k = inHeads(located('k'), c.keyHeads)
  const v = inHeads(linear(b, linears.v, x), c.keyHeads)
  const mixed = attention(q, k, v, batch, { block, scale: 1 / Math.sqrt(c.headSize), window: c.windows[block] })
  return linear(b, linears.output, mixed)
}

/** Each head of each token by itself. x: f32 [tokens, heads * size]. */
function headwiseNorm(b: GraphBuilder, c: LlamaShape, path: string, x: Value): Value {
  const [tokens, width] = x.shape as readonly [string, number]
  return norm(b, c, path, x.reshape([dimProduct([tokens, width / c.headSize]), c.headSize])).reshape(x.shape)
}

/** W_down (f(W_gate x) * W_up x). Source: Shazeer 2020, arXiv:2002.05202. */
function feedForward(b: GraphBuilder, c: LlamaShape, block: number, x: Value): Value {
  const { gate, up, down } = blockLinears(c, block)
  return linear(b, down, activations[c.activation](linear(b, gate, x)).mul(linear(b, up, x)))
}
