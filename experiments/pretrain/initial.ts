/**
 * @file The weights that pre-training starts from.
 */
import { gpt2, type Gpt2Config } from '../../shared/model/families/gpt2.js'
import { derive } from '../../shared/random.js'
import { elements, f32, type F32Tensor } from '../../shared/tensor.js'

/**
 * GPT-2's initial weights by checkpoint name: matrices and embeddings normal with deviation `range`, the two that write into the residual
 * stream divided by sqrt(2 layers), norms 1, biases 0. Each tensor has its own random stream, keyed by its name.
 *
 * Source: Radford et al. 2019, section 2.3; transformers, GPT2PreTrainedModel._init_weights.
 */
export function initialWeights(config: Gpt2Config, range: number, seed: number): Map<string, F32Tensor> {
  return new Map(
    [...gpt2.tensors(config)].map(([name, shape]) => {
      const data = new Float32Array(elements(shape))
      if (isNormWeight(name)) data.fill(1)
      else if (!name.endsWith('.bias')) derive(seed, 'initial-weight', name).fillNormal(data, 0, deviationOf(name, config, range))
      return [name, f32(shape, data)]
    }),
  )
}

/** Whether a weight decays: matrices of the blocks do; embeddings, norms and biases do not. */
export function decays(name: string): boolean {
  return gpt2.blockOf(name) !== null && name.endsWith('.weight') && !isNormWeight(name)
}

function isNormWeight(name: string): boolean {
  return /\.ln_(1|2|f)\.weight$/.test(name)
}

function deviationOf(name: string, { n_layer: layers }: Gpt2Config, range: number): number {
  return name.endsWith('.c_proj.weight') ? range / Math.sqrt(2 * layers) : range
}
