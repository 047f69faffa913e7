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
      const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
      const isChosen = new Uint8Array(width)
      for (let row = 0; row < rows; row++) {
        markLargest(bits.subarray(row * width, (row + 1) * width), count, isChosen)
        if (context.random !== null && randomShare > 0 && count < width) exchange(isChosen, count, context.random, randomShare)
        for (let channel = 0, place = row * count; channel < width; channel++)
          if (isChosen[channel]) {
            channels[place] = channel
            picked[place++] = values[row * width + channel]
          }
      }
      const places = asFlags ? packBits(flagsOf(channels, rows, width, count), 1) : packBits(new Uint16Array(channels), indexBits)
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

/**
 * Marks `count` channels of a row, and no others: the first of equal ones. NaN counts as larger than all.
 * @param row bits of its float32 numbers: without the sign, they are in the order of magnitudes
 */
function markLargest(row: Uint32Array, count: number, isChosen: Uint8Array): void {
  const least = kthMagnitude(row, count)
  let missing = count
  for (let channel = 0; channel < row.length; channel++) {
    const isLarger = (row[channel] & MAGNITUDE) > least
    isChosen[channel] = Number(isLarger)
    if (isLarger) missing--
  }
  for (let channel = 0; missing > 0; channel++) if ((row[channel] & MAGNITUDE) === least) missing -= isChosen[channel] = 1
}

const MAGNITUDE = 0x7fffffff
const counts = new Int32Array(256)

/** The `count`-th largest magnitude of a row, as bits: byte by byte, from the highest, it is counted which has it (radix selection). */
function kthMagnitude(row: Uint32Array, count: number): number {
  let [known, mask, wanted] = [0, 0, count]
  for (let shift = 24; shift >= 0; shift -= 8) {
    counts.fill(0)
    for (let channel = 0; channel < row.length; channel++) {
      const magnitude = row[channel] & MAGNITUDE
      if ((magnitude & mask) === known) counts[(magnitude >>> shift) & 0xff]++
    }
    let byte = 0xff
    while (counts[byte] < wanted) wanted -= counts[byte--]
    known |= byte << shift
    mask |= 0xff << shift
  }
  return known
}

/** Gives each of the chosen, with that probability, its place to one of the rest. */
function exchange(isChosen: Uint8Array, count: number, random: Random, randomShare: number): void {
  const [chosen, rest] = [new Uint32Array(count), new Uint32Array(isChosen.length - count)]
  for (let channel = 0, i = 0, j = 0; channel < isChosen.length; channel++)
    if (isChosen[channel]) chosen[i++] = channel
    else rest[j++] = channel
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
