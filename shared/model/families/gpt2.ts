/**
 * @file GPT-2: learned positions, pre-norm blocks, one matrix for queries, keys and values, a head tied to the embedding.
 *
 * Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; names and options as in transformers' GPT2Config.
 */
import { z } from 'zod'
import type { GraphBuilder, Value } from '../../graph/graph.js'
import { activationNames, activations } from './activations.js'
import { attention } from './attention.js'
import type { BatchValues, Family, LinearModule } from './family.js'
import { parseConfig, refusedConfig } from './parse-config.js'

/**
 * What decides the forward pass. Of transformers' other keys, reorder_and_upcast_attn orders the roundings of mixed precision, of which there is
 * none here; the dropouts are not applied to a frozen base; the summary keys are another head's.
 */
const Gpt2Config = z.object({
  model_type: z.literal('gpt2'),
  vocab_size: z.int().positive(),
  n_positions: z.int().positive().default(1024),
  n_embd: z.int().positive(),
  n_layer: z.int().positive(),
  n_head: z.int().positive(),
  n_inner: z.int().positive().nullable().default(null),
  activation_function: z.enum(activationNames).default('gelu_new'),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
  is_causal: z.literal(true, 'attention to later tokens is not supported').default(true),
  add_cross_attention: z.literal(false, 'cross-attention is not supported').default(false),
  pruned_heads: z.record(z.string(), z.never('pruned heads are not supported')).default({}),
})
export type Gpt2Config = z.infer<typeof Gpt2Config>

const TOKENS = 'transformer.wte.weight'
const POSITIONS = 'transformer.wpe.weight'
const HEAD = 'lm_head.weight'

export const gpt2: Family<Gpt2Config> = {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  architectures: ['GPT2LMHeadModel', 'GPT2Model'],
  defaultTargets: ['c_attn'],
  fanInFanOut: true,
  embeddings: [TOKENS, POSITIONS],
  headWeight: HEAD,

  parse(json) {
    const config = parseConfig('GPT-2', Gpt2Config, json)
    if (config.n_embd % config.n_head !== 0)
      throw refusedConfig('GPT-2', `n_head: ${config.n_head} does not divide n_embd, ${config.n_embd}`)
    return config
  },

  architecture: (c) => ({ layers: c.n_layer, hiddenSize: c.n_embd, vocabularySize: c.vocab_size, maxPositions: c.n_positions }),

  tensors(c) {
    const shapes = new Map<string, readonly number[]>([
      [TOKENS, [c.vocab_size, c.n_embd]],
      [POSITIONS, [c.n_positions, c.n_embd]],
    ])
    for (let block = 0; block < c.n_layer; block++) {
      for (const norm of ['ln_1', 'ln_2'])
        for (const part of ['weight', 'bias']) shapes.set(`transformer.h.${block}.${norm}.${part}`, [c.n_embd])
      for (const linear of blockLinears(c, block)) {
        shapes.set(`${linear.path}.weight`, [linear.in, linear.out])
        shapes.set(`${linear.path}.bias`, [linear.out])
      }
    }
    for (const part of ['weight', 'bias']) shapes.set(`transformer.ln_f.${part}`, [c.n_embd])
    if (!c.tie_word_embeddings) shapes.set(HEAD, [c.vocab_size, c.n_embd])
    return shapes
  },

  rename(name) {
    if (/\.attn\.(masked_)?bias$/.test(name)) return null // causal masks that old checkpoints carry
    if (name === HEAD || name.startsWith('transformer.')) return name
    return `transformer.${name}`
  },

  linears: (c) => Array.from({ length: c.n_layer }, (_, block) => blockLinears(c, block)).flat(),

  blockOf(name) {
    const match = /(?:^|\.)h\.(\d+)\./.exec(name)
    return match ? Number(match[1]) : null
  },

  trunk(b, c, batch) {
    const { ids, positions } = batch
    let hidden = tokenEmbedding(b, c)
      .gather(ids)
      .add(b.weight(POSITIONS, [c.n_positions, c.n_embd]).gather(positions))
    for (let block = 0; block < c.n_layer; block++) {
      b.mark(`hidden.${block}`, hidden)
      const path = `transformer.h.${block}`
      hidden = selfAttention(b, c, block, norm(b, c, `${path}.ln_1`, hidden), batch, hidden)
      const inner = activations[c.activation_function](
        linear(b, `${path}.mlp.c_fc`, norm(b, c, `${path}.ln_2`, hidden), [c.n_embd, innerSize(c)]),
      )
      hidden = linear(b, `${path}.mlp.c_proj`, inner, [innerSize(c), c.n_embd]).add(hidden)
    }
    b.mark(`hidden.${c.n_layer}`, hidden)
    return hidden
  },

  head: (b, c, hidden) => ({
    normed: norm(b, c, 'transformer.ln_f', hidden),
    weight: c.tie_word_embeddings ? tokenEmbedding(b, c) : b.weight(HEAD, [c.vocab_size, c.n_embd]),
  }),
}

function innerSize(c: Gpt2Config): number {
  return c.n_inner ?? 4 * c.n_embd
}

function blockLinears(c: Gpt2Config, block: number): LinearModule[] {
  const path = `transformer.h.${block}`
  return [
    { path: `${path}.attn.c_attn`, in: c.n_embd, out: 3 * c.n_embd },
    { path: `${path}.attn.c_proj`, in: c.n_embd, out: c.n_embd },
    { path: `${path}.mlp.c_fc`, in: c.n_embd, out: innerSize(c) },
    { path: `${path}.mlp.c_proj`, in: innerSize(c), out: c.n_embd },
  ]
}

function tokenEmbedding(b: GraphBuilder, c: Gpt2Config): Value {
  return b.weight(TOKENS, [c.vocab_size, c.n_embd])
}

function norm(b: GraphBuilder, c: Gpt2Config, path: string, x: Value): Value {
  return x.layerNorm(b.weight(`${path}.weight`, [c.n_embd]), b.weight(`${path}.bias`, [c.n_embd]), c.layer_norm_epsilon)
}

/** y = x W + bias; GPT-2 stores W as [in, out]. */
function linear(b: GraphBuilder, path: string, x: Value, [from, to]: readonly [number, number]): Value {
  return x.gemm(b.weight(`${path}.weight`, [from, to]), { add: b.weight(`${path}.bias`, [to]) })
}

/** One linear layer makes queries, keys and values; what their heads mix is projected back and added to the residual stream. */
function selfAttention(b: GraphBuilder, c: Gpt2Config, block: number, x: Value, batchValues: BatchValues, residual: Value): Value {
  const { slots, places } = batchValues
  const path = `transformer.h.${block}.attn`
  const qkv = linear(b, `${path}.c_attn`, x, [c.n_embd, 3 * c.n_embd])
  const [q, k, v] = qkv.toHeads(slots, places, { heads: c.n_head, parts: 3 })
  const scale = (c.scale_attn_weights ? 1 / Math.sqrt(c.n_embd / c.n_head) : 1) / (c.scale_attn_by_inverse_layer_idx ? block + 1 : 1)
  const mixed = attention(q, k, v, batchValues, { block, scale, window: null })
  return linear(b, `${path}.c_proj`, mixed, [c.n_embd, c.n_embd]).add(residual)
}
