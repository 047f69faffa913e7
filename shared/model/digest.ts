/**
 * @file The digest of a base model: what two machines compare to know that they hold the same weights.
 *
 * It is over stored bytes: the same values in another element type are another model.
 */
import { compareCodeUnits } from '../compare.js'

export interface ModelDigest {
  /** SHA-256 over the sorted entries, lower-case hex. */
  readonly model: string
  /** Per tensor: SHA-256 over its name, dtype, shape and the SHA-256 of its bytes, lower-case hex. A client checks those it holds. */
  readonly tensors: ReadonlyMap<string, string>
}

export interface DigestedTensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  /** SHA-256 of the bytes as the checkpoint stores them, lower-case hex. */
  readonly bytesSha256: string
}

async function sha256(text: string): Promise<string> {
  const hash = await globalThis.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The digest of one tensor. JSON keeps the four fields apart, whatever a name holds. */
export async function tensorDigest({ name, dtype, shape, bytesSha256 }: DigestedTensor): Promise<string> {
  return sha256(JSON.stringify([name, dtype, shape, bytesSha256]))
}

/** The digest of a model; the order of its tensors does not matter. */
export async function modelDigest(tensors: Iterable<DigestedTensor>): Promise<ModelDigest> {
  return digestOfTensors(
    await Promise.all([...tensors].map(async (tensor): Promise<[string, string]> => [tensor.name, await tensorDigest(tensor)])),
  )
}

/** The same from the tensors' own digests, by name. */
export async function digestOfTensors(digests: Iterable<readonly [string, string]>): Promise<ModelDigest> {
  const entries = [...digests].sort(([a], [b]) => compareCodeUnits(a, b))
  return { model: await sha256(JSON.stringify(entries)), tensors: new Map(entries) }
}
