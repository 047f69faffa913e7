/**
 * @file Which tokens are scored, as bits or as runs: whichever is shorter. The first byte says which.
 *
 * 0: a bit for each token, lowest bit first. 1 and 2: lengths of runs that alternate, the first of them unscored (1) or scored (2), as
 * variable-length integers; the last run goes to the end and is left out. Rows of text, and of a prompt and its completion, are two runs each.
 */
import { invalid } from './codec/codec.js'
import { decodeVarints, encodeVarints, varintBytes } from './varints.js'

const BITS = 0
const FIRST_UNSCORED = 1
const FIRST_SCORED = 2

/** @param flags [n], any non-zero value set. */
export function encodeMask(flags: Uint8Array): Uint8Array<ArrayBuffer> {
  const bitBytes = Math.ceil(flags.length / 8)
  const runs = runsWithin(flags, bitBytes)
  if (runs === null) {
    const bytes = new Uint8Array(1 + bitBytes)
    bytes[0] = BITS
    for (let index = 0; index < flags.length; index++) if (flags[index]) bytes[1 + (index >> 3)] |= 1 << (index & 7)
    return bytes
  }
  const lengths = encodeVarints(runs)
  const bytes = new Uint8Array(1 + lengths.length)
  bytes[0] = flags[0] ? FIRST_SCORED : FIRST_UNSCORED
  bytes.set(lengths, 1)
  return bytes
}

/** Lengths of all runs but the last, or null if they take more than `mostBytes`. */
function runsWithin(flags: Uint8Array, mostBytes: number): number[] | null {
  const runs: number[] = []
  let start = 0
  let bytes = 0
  for (let index = 1; index < flags.length; index++) {
    if (!flags[index] === !flags[index - 1]) continue
    bytes += varintBytes(index - start)
    if (bytes > mostBytes) return null
    runs.push(index - start)
    start = index
  }
  return runs
}

/**
 * @param count of tokens, which the caller has checked: it is what this allocates.
 * @returns flags [count], each 0 or 1.
 * @throws UserError MESSAGE_INVALID unless the bytes are a mask of just so many tokens.
 */
export function decodeMask(bytes: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
  if (bytes.length === 0) throw invalid('a mask has no bytes')
  const body = bytes.subarray(1)
  switch (bytes[0]) {
    case BITS:
      return decodeBits(body, count)
    case FIRST_UNSCORED:
    case FIRST_SCORED:
      return decodeRuns(body, count, bytes[0] === FIRST_SCORED)
    default:
      throw invalid(`there is no mask of kind ${bytes[0]}`)
  }
}

function decodeBits(bits: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
  if (bits.length !== Math.ceil(count / 8)) throw invalid(`a mask of ${bits.length} bytes does not fit ${count} tokens`)
  if (count % 8 !== 0 && bits[bits.length - 1] >> (count % 8) !== 0) throw invalid(`a mask of ${count} tokens has bits set beyond them`)
  const flags = new Uint8Array(count)
  for (let index = 0; index < count; index++) flags[index] = (bits[index >> 3] >> (index & 7)) & 1
  return flags
}

function decodeRuns(body: Uint8Array, count: number, isFirstScored: boolean): Uint8Array<ArrayBuffer> {
  // Bits would be shorter, so `encodeMask` never makes more, and reading them costs no more than the tokens do.
  if (body.length > Math.ceil(count / 8)) throw invalid(`a mask of ${body.length} bytes of runs is too long for ${count} tokens`)
  const flags = new Uint8Array(count)
  let flag = isFirstScored ? 1 : 0
  let at = 0
  for (const length of decodeVarints(body)) {
    // The last run has a token at least.
    if (length === 0 || length >= count - at) throw invalid(`a run of ${length} at token ${at} of ${count}`)
    flags.fill(flag, at, at + length)
    at += length
    flag = 1 - flag
  }
  flags.fill(flag, at)
  return flags
}
