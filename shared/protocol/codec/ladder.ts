/**
 * @file The codecs that `auto` chooses among, the safest first. Whoever measures anew edits this table and nothing else.
 *
 * A rung is a pair that was measured together. A client may stand on one rung with its activations and on another with its gradients: what that costs
 * is taken to be no more than the coarser of both rungs costs.
 */
export interface Rung {
  readonly activations: RungCodec
  readonly gradients: RungCodec
  /** Relative increase of the held-out loss over fp32 with both: the upper end of the 95% interval. */
  readonly lossIncrease: number
}

export interface RungCodec {
  readonly codec: string
  /** Payload as a share of fp32 of the same real tokens, with lengths, mask and targets. */
  readonly share: number
}

/**
 * Measured on the shipped model by `cutlayer sweep experiments/configs/codecs.yaml`: 5 pairs of runs, 1,024 held-out rows. zstd loses nothing; its share beside
 * int8, and those of fp16, are of 2 rounds of 15 steps of experiments/configs/quickstart.yaml.
 */
export const AUTO_LADDER: readonly [Rung, ...Rung[]] = [
  rung(0.0000014, ['fp16', 0.504], ['fp16', 0.5]),
  rung(0.000035, ['int8', 0.258], ['int8', 0.254]),
  rung(0.000035, ['int8+zstd', 0.219], ['int8+zstd', 0.215]),
  rung(0.00071, ['int6:outliers=4+zstd', 0.197], ['int4+zstd', 0.088]),
  rung(0.00091, ['int5:outliers=4+zstd', 0.172], ['int4+zstd', 0.088]),
  rung(0.0034, ['int4:outliers=4+zstd', 0.118], ['int4+zstd', 0.088]),
  rung(0.0038, ['int4:outliers=4+zstd', 0.118], ['int3+zstd', 0.073]),
]

/** @param activations and @param gradients codec and share */
function rung(lossIncrease: number, activations: readonly [string, number], gradients: readonly [string, number]): Rung {
  const [ofActivations, ofGradients] = [activations, gradients].map(([codec, share]) => ({ codec, share }))
  return { lossIncrease, activations: ofActivations, gradients: ofGradients }
}
