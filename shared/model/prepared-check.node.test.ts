import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fileOf } from './families/family.js'
import { openModel, type ModelFolder } from './model.node.js'
import { checkPrepared } from './prepared-check.node.js'
import { layoutOf, type PreparedWeights } from './prepared-files.node.js'
import { preparationOf } from './prepared.node.js'

const FILE = 'block-0.bin'
let folder: string
let model: ModelFolder
let weights: PreparedWeights
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cutlayer-check-'))
  process.env.CUTLAYER_CACHE = join(folder, 'cache')
  // Stored as F16: its digest is of other bytes than the prepared ones.
  model = await openModel(null)
  const { family } = model.definition
  weights = await model.weights(model.sources.map(({ name }) => name).filter((name) => fileOf(family, name) === FILE))
})
afterAll(() => rmSync(folder, { recursive: true }))

function check(path: string) {
  const { family, config } = model.definition
  const layout = layoutOf(FILE, family.tensors(config), preparationOf(model.definition, model.digest.model, 'fp32'))
  return checkPrepared(path, layout, new Map(model.sources.map((source) => [source.name, source])))
}

test('a prepared file of half-precision weights is what their digest was made of', async () => {
  expect(model.sources[0].dtype).toBe('F16')
  expect(await check(join(weights.folder, FILE))).toEqual({ sha256: weights.files.get(FILE)!.sha256, wrong: null })
})

test('one bit of a weight, or of the space between two, is found', async () => {
  const copy = join(folder, 'copy.bin')
  copyFileSync(join(weights.folder, FILE), copy)
  const bytes = readFileSync(copy)
  const [first, second] = [...weights.specs.keys()].map((name) => ({ name, ...weights.locate(name)! })).sort((a, b) => a.offset - b.offset)
  const flip = (position: number): void => {
    const changed = Buffer.from(bytes)
    // The highest bit of a float32's exponent; any half leaves room for it.
    changed[position] ^= 0x40
    writeFileSync(copy, changed)
  }
  flip(second.offset + 3)
  expect((await check(copy)).wrong).toBe(second.name)
  expect(first.bytes % 4096).not.toBe(0)
  flip(first.offset + first.bytes)
  expect((await check(copy)).wrong).toBe(`the space before ${second.name}`)
})
