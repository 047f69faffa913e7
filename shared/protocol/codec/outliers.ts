/**
 * @file Keeps a few channels as fp16, and leaves the rest to another codec, whose scales are then not set by them. Which channels these are is chosen
 * for each message: those with the largest sum of squares. Source: the decomposition of LLM.int8() (arXiv 2208.07339), by count instead of by threshold.
 *
 * Bytes: the channels, ascending (u16, little-endian); their numbers [rows, channels] as fp16; the rest.
 */
import { invalid, joined, rowsOf, type Codec } from './codec.js'
import { fp16 } from './fp16.js'

const INDEX_BYTES = 2

/** @param channels from 1 to 65535; of narrower rows, all */
export function outliersCodec(channels: number, rest: Codec): Codec {
  const parts = (shape: readonly number[]) => {
    const { rows, width } = rowsOf(shape)
    const count = Math.min(channels, width)
    return { rows, width, count, kept: [rows, count], left: [rows, width - count] } as const
  }
  return {
    isVariable: rest.isVariable,
    byteLength(shape) {
      const { count, kept, left } = parts(shape)
      return count * INDEX_BYTES + fp16.byteLength(kept) + rest.byteLength(left)
    },
    encode(values, shape, context) {
      const { rows, width, count, kept, left } = parts(shape)
      const chosen = largestChannels(values, rows, width, count)
      const [first, second] = split(values, width, chosen)
      const index = new Uint8Array(count * INDEX_BYTES)
      const view = new DataView(index.buffer)
      chosen.forEach((channel, place) => view.setUint16(place * INDEX_BYTES, channel, true))
      return joined([index, fp16.encode(first, kept, context), rest.encode(second, left, context)])
    },
    decode(bytes, shape) {
      const { width, count, kept, left } = parts(shape)
      const [indexEnd, keptEnd] = [count * INDEX_BYTES, count * INDEX_BYTES + fp16.byteLength(kept)]
      if (bytes.length < keptEnd) throw invalid(`it has ${bytes.length} bytes, and its outlier channels alone take ${keptEnd}`)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const chosen = Array.from({ length: count }, (_, place) => view.getUint16(place * INDEX_BYTES, true))
      if (chosen.some((channel, place) => channel >= width || channel <= (chosen[place - 1] ?? -1)))
        throw invalid(`its outlier channels are not ${count} ascending numbers below ${width}`)
      const second = rest.decode(bytes.subarray(keptEnd), left)
      return merged(fp16.decode(bytes.subarray(indexEnd, keptEnd), kept), second, width, chosen)
    },
    errorBound: (value, largest, context) => Math.max(fp16.errorBound(value, largest, context), rest.errorBound(value, largest, context)),
  }
}

function largestChannels(values: Float32Array, rows: number, width: number, count: number): number[] {
  const squares = new Float64Array(width)
  for (let row = 0, at = 0; row < rows; row++) for (let channel = 0; channel < width; channel++, at++) squares[channel] += values[at] ** 2
  // Ties, and NaN, go by the channel's number.
  const size = (channel: number): number => (Number.isNaN(squares[channel]) ? Infinity : squares[channel])
  const order = Array.from(squares, (_, channel) => channel).sort((a, b) => (size(a) === size(b) ? a - b : size(b) - size(a)))
  return order.slice(0, count).sort((a, b) => a - b)
}

function split(values: Float32Array, width: number, chosen: readonly number[]): [Float32Array, Float32Array] {
  const isChosen = flags(width, chosen)
  const rows = width === 0 ? 0 : values.length / width
  const [first, second] = [new Float32Array(rows * chosen.length), new Float32Array(values.length - rows * chosen.length)]
  for (let at = 0, channel = 0, i = 0, j = 0; at < values.length; at++) {
    if (isChosen[channel]) first[i++] = values[at]
    else second[j++] = values[at]
    if (++channel === width) channel = 0
  }
  return [first, second]
}

function merged(first: Float32Array, second: Float32Array, width: number, chosen: readonly number[]): Float32Array {
  const isChosen = flags(width, chosen)
  const values = new Float32Array(first.length + second.length)
  for (let at = 0, channel = 0, i = 0, j = 0; at < values.length; at++) {
    values[at] = isChosen[channel] ? first[i++] : second[j++]
    if (++channel === width) channel = 0
  }
  return values
}

function flags(width: number, chosen: readonly number[]): Uint8Array {
  const isChosen = new Uint8Array(width)
  for (const channel of chosen) isChosen[channel] = 1
  return isChosen
}
