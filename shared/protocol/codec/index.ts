/**
 * @file The codecs by name.
 */
import { invalid, type Codec } from './codec.js'
import { fp16 } from './fp16.js'
import { fp32 } from './fp32.js'

export type { Codec, CodecContext } from './codec.js'

export const CODECS: readonly Codec[] = [fp32, fp16]

/** @throws UserError MESSAGE_INVALID for a name that is not in the list. */
export function codecByName(name: string): Codec {
  const codec = CODECS.find((candidate) => candidate.name === name)
  if (!codec) throw invalid(`there is no codec called "${name}"; there are ${CODECS.map((known) => known.name).join(', ')}`)
  return codec
}
