/**
 * @file Writes safetensors files piece by piece, so that a file may be larger than memory.
 */
import type { FileHandle } from 'node:fs/promises'
import { unreachable } from '../errors.js'
import { writeAtomically } from './atomic-file.node.js'
import { elementBytes } from './dtype.js'
import { formatHeader } from './safetensors.js'

/** A tensor whose bytes come when they are asked for. */
export interface TensorToStream {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: number
  /** Its bytes in order; a piece is good until the next is asked for. */
  pieces(): AsyncIterable<Uint8Array>
}

/** Writes the file whole or not at all: larger element types first, so that each tensor is aligned to its own, else in the given order. */
export async function writeSafetensorsFile(path: string, tensors: readonly TensorToStream[]): Promise<void> {
  const sorted = [...tensors].sort((a, b) => (elementBytes(b.dtype) ?? 0) - (elementBytes(a.dtype) ?? 0))
  await writeAtomically(path, async (handle) => {
    await writeAll(handle, formatHeader(sorted, { format: 'pt' }))
    for (const { name, bytes, pieces } of sorted) {
      let written = 0
      for await (const piece of pieces()) {
        await writeAll(handle, piece)
        written += piece.length
      }
      if (written !== bytes) unreachable(`${written} bytes for ${name}, which takes ${bytes}`)
    }
  })
}

/** One call may write less than it was given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done)).bytesWritten
}
