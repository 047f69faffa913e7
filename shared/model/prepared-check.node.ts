/**
 * @file Whether a prepared file that came from elsewhere holds the tensors of a model's digest.
 *
 * The digest is over the bytes as the checkpoint stored them. F32, F16 and BF16 all turn into float32 without loss, so those bytes are
 * found again from the prepared ones, and whoever sent the file need not be trusted.
 */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { UserError, unreachable } from '../errors.js'
import { elements } from '../tensor.js'
import type { DigestedTensor } from './digest.js'
import { fromFloat32 } from './dtype.js'
import type { Layout } from './prepared-files.node.js'

const PIECE_BYTES = 2 ** 20

export interface CheckedFile {
  /** Of the whole file, lower-case hex. */
  readonly sha256: string
  /** What of it is not what the digest was made of: a tensor, or the space between two; null: nothing. */
  readonly wrong: string | null
}

/**
 * Reads a file once, from its beginning to its end.
 *
 * @param layout what the file is to hold; it has that length.
 * @param sources of at least the tensors in the layout.
 * @throws UserError MODEL_UNSUPPORTED as `checkCheckable`; the file system's errors.
 */
export async function checkPrepared(path: string, layout: Layout, sources: ReadonlyMap<string, DigestedTensor>): Promise<CheckedFile> {
  const whole = createHash('sha256')
  const wrong: string[] = []
  let position = 0
  const handle = await open(path, 'r')
  try {
    for (const tensor of layout.tensors) {
      if (!('offset' in tensor)) return unreachable(`${tensor.name} is in blocks, of which its source's bytes cannot be found again`)
      const { name, shape, offset } = tensor
      const padding = await readExactly(handle, position, offset - position)
      whole.update(padding)
      if (padding.some((byte) => byte !== 0)) wrong.push(`the space before ${name}`)
      const source = sources.get(name)!
      const dtype = checkableType(source)
      const hash = createHash('sha256')
      const end = offset + elements(shape) * 4
      for (position = offset; position < end; position += PIECE_BYTES) {
        const piece = await readExactly(handle, position, Math.min(PIECE_BYTES, end - position))
        whole.update(piece)
        hash.update(fromFloat32(new Float32Array(piece.buffer), dtype))
      }
      position = end
      if (hash.digest('hex') !== source.bytesSha256) wrong.push(name)
    }
  } finally {
    await handle.close()
  }
  return { sha256: whole.digest('hex'), wrong: wrong[0] ?? null }
}

/** @throws UserError MODEL_UNSUPPORTED for a type that cannot be found again from float32. */
export function checkableType({ name, dtype }: Pick<DigestedTensor, 'name' | 'dtype'>): 'F32' | 'F16' | 'BF16' {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype
  throw new UserError({
    code: 'MODEL_UNSUPPORTED',
    what: "the server's model cannot be fetched from it",
    why: `${name} is stored as ${dtype}, and what is fetched can be checked against the digest for F32, F16 and BF16 only`,
    fix: 'give this client a copy of the model with --model, or have the server use a model that is saved in one of these types',
  })
}

async function readExactly(handle: FileHandle, position: number, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const piece = new Uint8Array(bytes)
  let filled = 0
  while (filled < bytes) {
    const { bytesRead } = await handle.read(piece, filled, bytes - filled, position + filled)
    // What is missing stays zero, and is then not what the digest says.
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return piece
}
