/**
 * @file The tensors of a checkpoint as a safetensors file, with its length and SHA-256: both tell a torn file from a whole one.
 */
import { createHash } from 'node:crypto'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { fromFloat32, type Source } from '../../shared/model/dtype.js'
import { formatHeader, parseHeader, parseHeaderLength, PREFIX_BYTES } from '../../shared/model/safetensors.js'
import { elements, f32, type F32Tensor, type NamedTensors } from '../../shared/tensor.js'
import { UserError } from '../../shared/errors.js'
import { Torn } from './torn.js'

export interface FileFacts {
  readonly bytes: number
  /** In hexadecimal. */
  readonly sha256: string
}

/** Between two pieces others have their turn. */
const PIECE_BYTES = 4 * 2 ** 20

/** Writes a new file and forces it to disk. @throws Error of the system's */
export async function writeTensorFile(path: string, tensors: NamedTensors): Promise<FileFacts> {
  const hash = createHash('sha256')
  let bytes = 0
  const handle = await open(path, 'wx')
  try {
    const write = async (data: Uint8Array): Promise<void> => {
      for (let start = 0; start < data.length; start += PIECE_BYTES) {
        const piece = data.subarray(start, start + PIECE_BYTES)
        hash.update(piece)
        for (let done = 0; done < piece.length;) done += (await handle.write(piece, done)).bytesWritten
      }
      bytes += data.length
    }
    await write(formatHeader([...tensors].map(([name, { shape, data }]) => ({ name, dtype: 'F32', shape, bytes: data.byteLength }))))
    for (const { data } of tensors.values()) await write(fromFloat32(data, 'F32'))
    await handle.sync()
  } finally {
    await handle.close()
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** @throws Torn if it is not the file that these facts are of. */
export async function readTensorFile(path: string, name: string, facts: FileFacts): Promise<Map<string, F32Tensor>> {
  const { size } = await stat(path).catch(missing(name))
  if (size !== facts.bytes) throw new Torn(`${name} has ${size} bytes, and should have ${facts.bytes}`)
  const handle = await open(path, 'r').catch(missing(name))
  try {
    return await readTensors(handle, name, facts)
  } catch (error) {
    if (error instanceof UserError) throw new Torn(`${name}: ${error.why}`)
    if (error instanceof Error && 'code' in error) throw new Torn(`${name} cannot be read: ${error.message}`)
    throw error
  } finally {
    await handle.close()
  }
}

/** Nothing is allocated that the file, whose size is known, does not hold. */
async function readTensors(handle: FileHandle, name: string, { bytes, sha256 }: FileFacts): Promise<Map<string, F32Tensor>> {
  const source: Source = { name, code: 'ADAPTER_CORRUPT' }
  const hash = createHash('sha256')
  let position = 0
  const read = async (length: number): Promise<Uint8Array<ArrayBuffer>> => {
    const data = new Uint8Array(length)
    for (let done = 0; done < length;) {
      const { bytesRead } = await handle.read(data, done, Math.min(PIECE_BYTES, length - done), position)
      if (bytesRead === 0) throw new Torn(`${name} ends after ${position} bytes`)
      hash.update(data.subarray(done, done + bytesRead))
      done += bytesRead
      position += bytesRead
    }
    return data
  }
  const prefix = await read(Math.min(PREFIX_BYTES, bytes))
  const header = parseHeader(await read(parseHeaderLength(prefix, bytes, source)), bytes, source)
  const tensors = new Map<string, F32Tensor>()
  for (const entry of [...header.tensors.values()].sort((a, b) => a.offset - b.offset)) {
    if (entry.dtype !== 'F32') throw new Torn(`${entry.name} of ${name} is ${entry.dtype}, and should be F32`)
    const data = await read(4 * elements(entry.shape))
    tensors.set(entry.name, f32(entry.shape, new Float32Array(data.buffer)))
  }
  const found = hash.digest('hex')
  if (found !== sha256) throw new Torn(`${name} has the SHA-256 ${found.slice(0, 12)}..., and should have ${sha256.slice(0, 12)}...`)
  return tensors
}

function missing(name: string): (error: Error) => never {
  return (error) => {
    throw new Torn('code' in error && error.code === 'ENOENT' ? `${name} is missing` : `${name} cannot be read: ${error.message}`)
  }
}
