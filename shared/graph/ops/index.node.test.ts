import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ops } from './index.js'

const files = readdirSync(new URL('.', import.meta.url))

describe('the op table', () => {
  test('lists every op file under the name that the op gives itself', () => {
    const names = files.filter((file) => /^[a-z_]+\.ts$/.test(file) && file !== 'index.ts').map((file) => file.slice(0, -3))
    expect(Object.keys(ops).sort()).toEqual(names.sort())
    for (const [name, op] of Object.entries(ops)) expect(op.name).toBe(name)
  })
  test.each(Object.keys(ops))('has a test file for %s', (name) => {
    expect(files).toContain(`${name}.test.ts`)
  })
})
