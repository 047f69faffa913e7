/**
 * @file Activations that a bare client sends: one row of two tokens, for the golden model.
 */
import { encodeTensor, FP32 } from '../../shared/protocol/codec/index.js'
import { encodeMask } from '../../shared/protocol/mask.js'
import type { Activations } from '../../shared/protocol/messages.js'
import { encodeVarints } from '../../shared/protocol/varints.js'

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
    lengths: encodeVarints([2]),
    hidden: encodeTensor(
      FP32,
      Float32Array.from({ length: 2 * WIDTH }, (_, i) => value * ((i % 7) - 3)),
      [2, WIDTH],
      { purpose: 'activations', random: null },
    ),
    rows: new Uint8Array(0),
    scored: encodeMask(Uint8Array.of(1, 0)),
    targets: encodeVarints([5]),
    normalizer: 1,
    ...changes,
  }
}
