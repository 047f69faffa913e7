/**
 * @file What a model family tells the rest of the house; one file per family implements it.
 */
import type { GraphBuilder, Value } from '../../graph/graph.js'

export interface Architecture {
  readonly layers: number
  readonly hiddenSize: number
  readonly vocabularySize: number
  /** Longest row the model can take, in tokens. */
  readonly maxPositions: number
}

/** A linear layer that LoRA can adapt. `path` is its module path in transformers, as `transformer.h.0.attn.c_attn`. */
export interface LinearModule {
  readonly path: string
  readonly in: number
  readonly out: number
}

/** What every graph of a batch starts from; see shared/train/batch.ts for what they hold. */
export interface BatchValues {
  readonly ids: Value // i32 [tokens]
  readonly positions: Value // i32 [tokens]
  readonly slots: Value // i32 [batch, longest]
  readonly places: Value // i32 [tokens]
  /**
   * Generation only: joins keys or values of earlier runs before these, along the axis of positions, and remembers the whole for the next.
   * `name` tells them apart, as `key.0` of block 0.
   */
  readonly remember?: (name: string, fresh: Value, axis: number) => Value
}

export interface Family<Config = unknown> {
  readonly name: string
  /** Values of `model_type` in config.json that this family reads. */
  readonly modelTypes: readonly string[]
  /** Classes of transformers whose weights it reads: `architectures` in config.json names one of them, if any. */
  readonly architectures: readonly string[]
  /** PEFT's default target modules for it. */
  readonly defaultTargets: readonly string[]
  /** PEFT's `fan_in_fan_out`: whether checkpoints store linear weights as [in, out]. */
  readonly fanInFanOut: boolean
  /** @throws UserError MODEL_UNSUPPORTED naming a key whose value this code does not honour, or is of a wrong type. */
  parse(config: unknown): Config
  architecture(config: Config): Architecture
  /** Names of the tensors that turn tokens into vectors. */
  readonly embeddings: readonly string[]
  /** Name of the head's weight where it is a tensor of its own. */
  readonly headWeight: string
  /** The checkpoint's tensors under the names transformers gives them in the language model, with their shapes. */
  tensors(config: Config): Map<string, readonly number[]>
  /** From a name in a checkpoint file to that of `tensors`; null for buffers that hold no weights. */
  rename(name: string): string | null
  linears(config: Config): LinearModule[]
  /** Block number in a tensor name or module path; null outside the blocks. */
  blockOf(name: string): number | null
  /** Embedding and all blocks. Marks `hidden.0` .. `hidden.{layers}`, the residual stream before each block and after the last. */
  trunk(builder: GraphBuilder, config: Config, batch: BatchValues): Value
  /** Final norm of any rows of the last residual stream, f32 [n, hidden], and the weight of the head, f32 [vocabulary, hidden]. */
  head(builder: GraphBuilder, config: Config, hidden: Value): { normed: Value; weight: Value }
}

/** The prepared-weights file that a tensor belongs to: a client fetches only those of its own blocks. */
export function fileOf(family: Family, name: string): string {
  const block = family.blockOf(name)
  if (block !== null) return `block-${block}.bin`
  return family.embeddings.includes(name) ? 'embedding.bin' : 'head.bin'
}
