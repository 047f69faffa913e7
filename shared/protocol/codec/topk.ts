/**
 * @file Codec topk: of each row the numbers of largest magnitude, and where they are; the rest become 0. With a stream to draw from, a share of those
 * that are sent is drawn from the rest, so that no channel is left without a gradient for long. Source: randomised top-k, arXiv 2305.18469.
 *
 * Bytes: of all rows where their numbers are, then the numbers [rows, k] as another codec packs them. Places are channels (ceil(log2 width) bits each,
 * ascending) or a bit for each channel, whichever is less for that width.
 */
import type { Random } from '../../random.js'
import { packBits, packedBytes, unpackBits } from './bits.js'
import { invalid, joined, rowsOf, type Codec } from './codec.js'

export interface TopkOptions {
  /** Of a row's numbers, the share that is sent; at least one is. */
  readonly share: number
  /** Of those that are sent, the share that is drawn from the rest, on average. */
  readonly random: number
}

export function topkCodec({ share, random: randomShare }: TopkOptions, numbers: Codec): Codec {
  const parts = (shape: readonly number[]) => {
    const { rows, width } = rowsOf(shape)
    const count = Math.min(width, Math.max(1, Math.round(share * width)))
    const indexBits = Math.max(1, Math.ceil(Math.log2(width)))
    const asFlags = width <= count * indexBits || indexBits > 16
    const placeBytes = asFlags ? packedBytes(rows * width, 1) : packedBytes(rows * count, indexBits)
    return { rows, width, count, indexBits, asFlags, placeBytes, sent: [rows, count] } as const
  }
  return {
    isVariable: numbers.isVariable,
    byteLength(shape) {
      const { placeBytes, sent } = parts(shape)
      return placeBytes + numbers.byteLength(sent)
    },
    encode(values, shape, context) {
      const { rows, width, count, indexBits, asFlags, sent } = parts(shape)
      const channels = new Uint32Array(rows * count)
      const picked = new Float32Array(rows * count)
      for (let row = 0; row < rows; row++) {
        const own = values.subarray(row * width, (row + 1) * width)
        const chosen = chooseChannels(own, count, context.random, randomShare)
        channels.set(chosen, row * count)
        for (let place = 0; place < count; place++) picked[row * count + place] = own[chosen[place]]
      }
      const places = asFlags ? packBits(flagsOf(channels, rows, width, count), 1) : packBits(Uint16Array.from(channels), indexBits)
      return joined([places, numbers.encode(picked, sent, context)])
    },
    decode(bytes, shape) {
      const { rows, width, count, indexBits, asFlags, placeBytes, sent } = parts(shape)
      if (bytes.length < placeBytes) throw invalid(`it has ${bytes.length} bytes, and its places alone take ${placeBytes}`)
      const picked = numbers.decode(bytes.subarray(placeBytes), sent)
      const places = bytes.subarray(0, placeBytes)
      const channels = asFlags
        ? channelsOf(unpackBits(places, 1, new Uint8Array(rows * width)), rows, width, count)
        : unpackBits(places, indexBits, new Uint16Array(rows * count))
      const values = new Float32Array(rows * width)
      for (let place = 0; place < channels.length; place++) {
        const channel = channels[place]
        if (channel >= width || (place % count > 0 && channel <= channels[place - 1]))
          throw invalid('its places are not ascending channels')
        values[Math.floor(place / count) * width + channel] = picked[place]
      }
      return values
    },
    /** Any number may be left out. */
    errorBound: (value, largest, context) => Math.max(Math.abs(value), numbers.errorBound(value, largest, context)),
  }
}

/** `count` channels of a row, ascending. NaN counts as largest. */
function chooseChannels(row: Float32Array, count: number, random: Random | null, randomShare: number): Uint32Array {
  const magnitudes = row.map((value) => (Number.isNaN(value) ? Infinity : Math.abs(value)))
  const least = magnitudes.slice().sort()[row.length - count]
  const isChosen = new Uint8Array(row.length)
  let missing = count
  for (let channel = 0; channel < row.length; channel++) if (magnitudes[channel] > least) missing -= isChosen[channel] = 1
  for (let channel = 0; missing > 0; channel++) if (magnitudes[channel] === least) missing -= isChosen[channel] = 1
  if (random !== null && randomShare > 0 && count < row.length) exchange(isChosen, count, random, randomShare)
  return channelsOf(isChosen, 1, row.length, count)
}

/** Gives each of the chosen, with that probability, its place to one of the rest. */
function exchange(isChosen: Uint8Array, count: number, random: Random, randomShare: number): void {
  const rest = channelsOf(
    isChosen.map((flag) => 1 - flag),
    1,
    isChosen.length,
    isChosen.length - count,
  )
  const chosen = channelsOf(isChosen, 1, isChosen.length, count)
  let left = rest.length
  for (const channel of chosen) {
    if (left === 0 || random.uniform() >= randomShare) continue
    const drawn = random.below(left--)
    isChosen[channel] = 0
    isChosen[rest[drawn]] = 1
    rest[drawn] = rest[left]
  }
}

function flagsOf(channels: Uint32Array, rows: number, width: number, count: number): Uint8Array {
  const flags = new Uint8Array(rows * width)
  for (let place = 0; place < channels.length; place++) flags[Math.floor(place / count) * width + channels[place]] = 1
  return flags
}

/** @throws UserError MESSAGE_INVALID unless each row has `count` flags */
function channelsOf(flags: Uint8Array, rows: number, width: number, count: number): Uint32Array {
  const channels = new Uint32Array(rows * count)
  for (let row = 0; row < rows; row++) {
    let place = 0
    for (let channel = 0; channel < width; channel++)
      if (flags[row * width + channel]) {
        if (place === count) throw invalid(`a row has more than ${count} places`)
        channels[row * count + place++] = channel
      }
    if (place < count) throw invalid(`a row has ${place} places, and ${count} are expected`)
  }
  return channels
}
