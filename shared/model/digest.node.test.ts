import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openCheckpoint, renameTensors } from './checkpoint.node.js'
import { digestCheckpoint } from './digest.node.js'
import { modelDigest, type ModelDigest } from './digest.js'

const golden = fileURLToPath(new URL('golden/gpt2/model', import.meta.url))
const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex')

describe('the digest', () => {
  const one = { name: 'a', dtype: 'F32', shape: [2, 3], bytesSha256: sha256('x') }
  const two = { name: 'b', dtype: 'F16', shape: [6], bytesSha256: sha256('y') }

  test('is SHA-256 over the sorted entries, each over name, type, shape and hash', async () => {
    const entry = (tensor: typeof one): string => sha256(JSON.stringify([tensor.name, tensor.dtype, tensor.shape, tensor.bytesSha256]))
    const digest = await modelDigest([two, one])
    expect(digest.tensors).toEqual(
      new Map([
        ['a', entry(one)],
        ['b', entry(two)],
      ]),
    )
    expect(digest.model).toBe(
      sha256(
        JSON.stringify([
          ['a', entry(one)],
          ['b', entry(two)],
        ]),
      ),
    )
  })
  test.each([
    ['name', { ...one, name: 'c' }],
    ['type', { ...one, dtype: 'F64' }],
    ['shape', { ...one, shape: [3, 2] }],
    ['bytes', { ...one, bytesSha256: sha256('z') }],
  ])('changes with the %s of a tensor, and so does its entry', async (_, changed) => {
    const before = await modelDigest([one, two])
    const after = await modelDigest([changed, two])
    expect(after.model).not.toBe(before.model)
    expect(after.tensors.get(changed.name)).not.toBe(before.tensors.get('a'))
    expect(after.tensors.get('b')).toBe(before.tensors.get('b'))
  })
})

describe('the digest of a model folder', () => {
  let folder: string
  let cache: string
  beforeEach(() => {
    const root = mkdtempSync(join(tmpdir(), 'cutlayer-digest-'))
    folder = join(root, 'model')
    cache = join(root, 'cache')
    cpSync(golden, folder, { recursive: true })
    utimesSync(join(folder, 'model.safetensors'), 1e9, 1e9) // long settled
  })
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }))

  async function digest(rename: (name: string) => string | null = (name) => name): Promise<ModelDigest> {
    const checkpoint = await openCheckpoint(folder)
    try {
      return await digestCheckpoint(renameTensors(checkpoint, rename), cache)
    } finally {
      await checkpoint.close()
    }
  }
  const memory = (): string => join(cache, 'digests', readdirSync(join(cache, 'digests'))[0])

  test('has an entry for every tensor, and is the same the second time, from memory', async () => {
    const first = await digest()
    expect(first.tensors.size).toBe(4 * 12 + 4)
    expect(await digest()).toEqual(first)
  })
  test('is taken from memory while the file stays as it is', async () => {
    const first = await digest()
    // A falsified memory shows that it was believed: that is how this test sees that nothing was hashed again.
    writeFileSync(memory(), readFileSync(memory(), 'utf8').replace(/[0-9a-f]{64}/, 'f'.repeat(64)))
    expect((await digest()).model).not.toBe(first.model)
  })
  test('is made afresh once the file changes, even with its old size and time', async () => {
    const first = await digest()
    const file = join(folder, 'model.safetensors')
    const bytes = readFileSync(file)
    bytes[bytes.length - 1] ^= 1
    writeFileSync(file, bytes)
    utimesSync(file, 1e9, 1e9)
    const second = await digest()
    expect(second.model).not.toBe(first.model)
    const changed = [...second.tensors].filter(([name, entry]) => first.tensors.get(name) !== entry)
    expect(changed.length).toBe(1)
  })
  test('is made afresh if its memory is damaged', async () => {
    const first = await digest()
    writeFileSync(memory(), '{"stamp":')
    expect(await digest()).toEqual(first)
  })
  test('is not remembered for a file that was changed just now', async () => {
    const soon = Date.now() / 1000 + 60
    utimesSync(join(folder, 'model.safetensors'), soon, soon)
    await digest()
    expect(existsSync(join(cache, 'digests'))).toBe(false)
  })
  test('needs no writable cache', async () => {
    const first = await digest()
    rmSync(cache, { recursive: true })
    writeFileSync(cache, 'a file where the folder should be')
    expect(await digest()).toEqual(first)
  })
  test('does not depend on what a family leaves out, and goes by the names it gives', async () => {
    const unprefixed = await digest((name) => name.replace('transformer.', ''))
    expect([...unprefixed.tensors.keys()]).toContain('wte.weight')
    expect(unprefixed.model).not.toBe((await digest()).model)
    const without = await digest((name) => (name.endsWith('wpe.weight') ? null : name))
    expect(without.tensors.size).toBe(4 * 12 + 3)
  })
})
