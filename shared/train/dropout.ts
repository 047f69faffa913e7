/**
 * @file LoRA dropout masks: inputs of the programs, so that every backend, a recomputed forward pass and the backward pass see the same one.
 */
import { derive } from '../random.js'
import { f32, type F32Tensor } from '../tensor.js'

/** What one micro-batch's masks are keyed by, beside module and row. */
export interface MaskKey {
  readonly seed: number
  readonly client: string
  readonly round: number
  readonly step: number
  readonly micro: number
}

/**
 * Inverted dropout: 0 with probability `rate`, else 1 / (1 - rate); f32 [tokens, width]. Each row of the batch has its own stream, so a row's mask
 * does not depend on its neighbours' lengths. Source: Srivastava et al. 2014, JMLR 15, section 10.
 *
 * @param lengths tokens of each row.
 */
export function dropoutMask(key: MaskKey, path: string, lengths: ArrayLike<number>, width: number, rate: number): F32Tensor {
  const rows = Array.from(lengths)
  const tokens = rows.reduce((sum, length) => sum + length, 0)
  const mask = new Float32Array(tokens * width)
  const kept = Math.fround(1 / (1 - rate))
  let start = 0
  rows.forEach((length, row) => {
    const part = mask.subarray(start, start + length * width)
    derive(key.seed, 'lora-dropout', key.client, key.round, key.step, key.micro, path, row).fillUniform(part, 0, 1)
    for (let i = 0; i < part.length; i++) part[i] = part[i] < rate ? 0 : kept
    start += part.length
  })
  return f32([tokens, width], mask)
}
