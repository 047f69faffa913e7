/**
 * @file MessagePack as it crosses the network: packing, and unpacking of bytes that a stranger may have written.
 *
 * msgpackr decodes more than MessagePack (records, regular expressions, dates, cycles), recurses as deep as the input says, and keeps
 * what it learnt. So every input is walked once before, without recursion and without allocation, and only plain data reaches it.
 */
import { Packr } from 'msgpackr'
import { UserError, unreachable } from '../errors.js'

/** Deeper nesting than any message has, and far from the end of any stack. */
const MAX_DEPTH = 32
/** Values in one unit; a tensor is one value. A map entry counts as two. */
const MAX_VALUES = 1_000_000

const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  int64AsType: 'number',
  variableMapSize: true,
  moreTypes: false,
  structuredClone: false,
})

/** @returns MessagePack of plain data. Byte arrays must be Uint8Array: any other typed array would become an extension. */
export function pack(value: unknown): Uint8Array {
  const packed = packr.pack(value)
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength)
}

/**
 * Plain data from MessagePack: null, booleans, numbers, strings, arrays, objects and byte arrays.
 *
 * Byte arrays come back as views of `bytes`, at any offset: copy one before viewing it as anything but bytes.
 *
 * @throws UserError MESSAGE_INVALID for anything else: cut or trailing bytes, extensions (but notepack's `undefined`), keys that are not
 *   strings or that touch a prototype, deep nesting, sizes that the bytes cannot hold.
 */
export function unpack(bytes: Uint8Array): unknown {
  // Plain view: from a Buffer, msgpackr would hand out Buffers in Node and Uint8Arrays in a browser.
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  checkPlain(view)
  try {
    return packr.unpack(view)
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : 'it does not decode', error)
  }
}

function invalid(why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'MESSAGE_INVALID',
      what: 'bytes from the network are not a message',
      why,
      fix: 'make sure that both ends run the same version of cutlayer, and that nothing else talks to this port',
    },
    { cause },
  )
}

/** Walks the tokens of one value; throws unless it is plain data that ends where the bytes end. */
function checkPlain(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  /** Values still to come at each open level; a map's are twice its entries, and its even ones (counted from the end) are keys. */
  const left: number[] = [1]
  const isMap: boolean[] = [false]
  let at = 0
  let values = 0

  const need = (count: number): void => {
    if (count > bytes.length - at) throw invalid('it ends in the middle of a value')
  }
  const length = (width: 1 | 2 | 4): number => {
    need(width)
    const value = width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at) : view.getUint32(at)
    at += width
    return value
  }
  const skip = (count: number): void => {
    need(count)
    at += count
  }
  const open = (count: number, map: boolean): void => {
    const children = map ? count * 2 : count
    // Every value takes at least a byte, so a larger count is a lie, found before anything is allocated for it.
    need(children)
    if (left.length > MAX_DEPTH) throw invalid(`it is nested deeper than ${MAX_DEPTH} levels`)
    left.push(children)
    isMap.push(map)
  }

  while (left.length > 0) {
    const top = left.length - 1
    if (left[top] === 0) {
      left.pop()
      isMap.pop()
      continue
    }
    const isKey = isMap[top] === true && left[top] % 2 === 0
    left[top]--
    if (++values > MAX_VALUES) throw invalid(`it holds more than ${MAX_VALUES} values`)
    need(1)
    const token = bytes[at++]
    if (isKey) {
      const isString = (token >= 0xa0 && token < 0xc0) || (token >= 0xd9 && token <= 0xdb)
      if (!isString) throw invalid('a key is not a string')
      const keyLength = token < 0xc0 ? token - 0xa0 : length(token === 0xd9 ? 1 : token === 0xda ? 2 : 4)
      need(keyLength)
      if (isPrototypeKey(bytes, at, keyLength)) throw invalid('a key is "__proto__"')
      at += keyLength
    } else if (token < 0x80 || token >= 0xe0) {
      continue // small integers
    } else if (token < 0x90) open(token - 0x80, true)
    else if (token < 0xa0) open(token - 0x90, false)
    else if (token < 0xc0) skip(token - 0xa0)
    else {
      switch (token) {
        case 0xc0: // nil
        case 0xc2: // false
        case 0xc3: // true
          break
        case 0xc4: // bytes
        case 0xd9: // string
          skip(length(1))
          break
        case 0xc5:
        case 0xda:
          skip(length(2))
          break
        case 0xc6:
        case 0xdb:
          skip(length(4))
          break
        case 0xcc: // u8
        case 0xd0: // i8
          skip(1)
          break
        case 0xcd: // u16
        case 0xd1: // i16
          skip(2)
          break
        case 0xca: // f32
        case 0xce: // u32
        case 0xd2: // i32
          skip(4)
          break
        case 0xcb: // f64
        case 0xcf: // u64
        case 0xd3: // i64
          skip(8)
          break
        case 0xd4: // notepack, which JavaScript clients may use, writes undefined as this extension of type 0
          need(2)
          if (bytes[at] !== 0) throw invalid(`it holds an extension of type ${bytes[at]}`)
          at += 2
          break
        case 0xdc:
          open(length(2), false)
          break
        case 0xdd:
          open(length(4), false)
          break
        case 0xde:
          open(length(2), true)
          break
        case 0xdf:
          open(length(4), true)
          break
        case 0xc1:
        case 0xc7:
        case 0xc8:
        case 0xc9:
        case 0xd5:
        case 0xd6:
        case 0xd7:
        case 0xd8:
          throw invalid(`it holds a value of kind 0x${token.toString(16)}, which no message has`)
        default:
          unreachable(`MessagePack token ${token}`)
      }
    }
  }
  if (at !== bytes.length) throw invalid('something follows its end')
}

const PROTOTYPE_KEY = new TextEncoder().encode('__proto__')

function isPrototypeKey(bytes: Uint8Array, at: number, length: number): boolean {
  return length === PROTOTYPE_KEY.length && PROTOTYPE_KEY.every((byte, index) => bytes[at + index] === byte)
}
