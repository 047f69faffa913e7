/**
 * @file What crosses the cut each time a training batch comes back: its activations, and their gradients. Codecs that remember rows see it change from
 * visit to visit. Random here; of a real model in `model-visits.ts`.
 */
import { derive } from '../../../shared/random.js'

export interface Visit {
  /** [tokens, width]. */
  readonly activations: Float32Array
  readonly gradients: Float32Array
}

/** The visits of one batch. */
export interface Visits {
  /** Tokens of each row. */
  readonly lengths: Int32Array
  readonly width: number
  readonly visits: readonly Visit[]
}

/** Channels that are far larger than the rest, as in language models; and by how much. */
const OUTLIERS = 4
const OUTLIER_SCALE = 30
/** What a visit moves: as a share of the numbers, most of it in so many directions of the whole batch. */
const MOVED = 0.1
const DIRECTIONS = 8
/** Roughly the size of a gradient of the mean loss over a few hundred tokens. */
const GRADIENT_SCALE = 1e-4

/** Normal numbers with a few outlier channels, which move a little from visit to visit. */
export function randomVisits(rows: number, tokens: number, width: number, count: number): Visits {
  const lengths = new Int32Array(rows).fill(tokens)
  const channelScale = Float32Array.from({ length: width }, (_, channel) =>
    channel % Math.ceil(width / OUTLIERS) === 7 ? OUTLIER_SCALE : 1,
  )
  const activations = moving('activations', rows * tokens, channelScale, count)
  const gradients = moving('gradients', rows * tokens, new Float32Array(width).fill(GRADIENT_SCALE), count)
  return { lengths, width, visits: activations.map((own, index) => ({ activations: own, gradients: gradients[index] })) }
}

function moving(name: string, tokens: number, scale: Float32Array, count: number): Float32Array[] {
  const width = scale.length
  const drawn = (size: number, ...key: (string | number)[]): Float32Array => {
    const values = new Float32Array(size)
    derive(1, 'benchmark', name, ...key).fillNormal(values, 0, 1)
    return values
  }
  const base = drawn(tokens * width, 'base')
  return Array.from({ length: count }, (_, visit) => {
    const noise = drawn(tokens * width, 'noise', visit)
    const [left, right] = [drawn(tokens * DIRECTIONS, 'left', visit), drawn(width * DIRECTIONS, 'right', visit)]
    return base.map((value, index) => {
      const [token, channel] = [Math.floor(index / width), index % width]
      let along = 0
      for (let k = 0; k < DIRECTIONS; k++) along += left[token * DIRECTIONS + k] * right[channel * DIRECTIONS + k]
      return scale[channel] * (value + MOVED * (0.5 * noise[index] + along / Math.sqrt(DIRECTIONS)))
    })
  })
}
