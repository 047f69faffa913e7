/**
 * @file Activations that a bare client sends: one row of two tokens, for the golden model.
 */
import { encodeTensor, FP32 } from '../../shared/protocol/codec/index.js'
import { i32ToBytes, maskToBytes } from '../../shared/protocol/coded.js'
import type { Activations } from '../../shared/protocol/messages.js'

/** Of the golden model. */
const WIDTH = 32

/** @param value what the activations are multiples of. */
export function activations(changes: Partial<Activations> = {}, value = 0.1): Activations {
  return {
    type: 'activations',
    round: 1,
    attempt: 0,
    step: 0,
    micro: 0,
    hop: 0,
    purpose: 'train',
    lengths: i32ToBytes(Int32Array.of(2)),
    hidden: encodeTensor(
      FP32,
      Float32Array.from({ length: 2 * WIDTH }, (_, i) => value * ((i % 7) - 3)),
      [2, WIDTH],
      { purpose: 'activations', random: null },
    ),
    scored: maskToBytes(Uint8Array.of(1, 0)),
    targets: i32ToBytes(Int32Array.of(5)),
    normalizer: 1,
    ...changes,
  }
}
