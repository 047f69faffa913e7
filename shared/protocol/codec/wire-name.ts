/**
 * @file What messages call a codec. Both ends know from the round's start which one it is, so that a long name need not travel: its checksum tells as
 * well whether they mean the same.
 */
import { crc32 } from '../crc32.js'

const MOST_CHARACTERS = 12
const utf8 = new TextEncoder()

/** Of a codec's name, at most twelve characters. */
export function wireName(name: string): string {
  return name.length <= MOST_CHARACTERS ? name : `#${crc32(utf8.encode(name)).toString(16).padStart(8, '0')}`
}
