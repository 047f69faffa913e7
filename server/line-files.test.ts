import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentTrace } from '../shared/trace.js'
import { LineFiles } from './line-files.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutlayer-lines-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const pathsOf = (): Record<'a' | 'b', string> => ({ a: join(folder, 'a'), b: join(folder, 'b') })
const content = (name: string): string => readFileSync(join(folder, name), 'utf8')

test('lines wait for the end of their turn, and are then there whole and in order', async () => {
  const files = new LineFiles(pathsOf(), silentTrace)
  files.append('a', 'one')
  files.append('b', 'other')
  files.append('a', 'two')
  expect([content('a'), content('b')]).toEqual(['', ''])
  await setImmediate()
  expect([content('a'), content('b')]).toEqual(['one\ntwo\n', 'other\n'])
  files.close()
})

test('closing writes what waits, and what was there stays', () => {
  for (const line of ['one', 'two']) {
    const files = new LineFiles(pathsOf(), silentTrace)
    files.append('a', line)
    files.close()
    files.close()
  }
  expect(content('a')).toBe('one\ntwo\n')
})

test('a line that a crash has cut gets an end, so that the next one stands alone', () => {
  writeFileSync(join(folder, 'a'), '{"whole":1}\n{"cut')
  const files = new LineFiles(pathsOf(), silentTrace)
  files.append('a', '{"next":1}')
  files.close()
  expect(content('a')).toBe('{"whole":1}\n{"cut\n{"next":1}\n')
})

test('nothing can be appended behind its end', () => {
  const files = new LineFiles(pathsOf(), silentTrace)
  files.close()
  expect(() => files.append('a', 'late')).toThrow('this is a bug')
})

// Every write to this device fails as on a full disk.
const isThere = existsSync('/dev/full')

test.runIf(isThere)('a line that could not be written is told once, by the next call', async () => {
  const files = new LineFiles({ ...pathsOf(), a: '/dev/full' }, silentTrace)
  files.append('a', 'lost')
  await setImmediate()
  expect(() => files.append('b', 'next')).toThrow(expect.objectContaining({ code: 'ENOSPC' }) as Error)
  expect(() => files.flush()).not.toThrow()
  files.close()
})

test.runIf(isThere)('a line that cannot be written at the end is told there', () => {
  const files = new LineFiles({ ...pathsOf(), a: '/dev/full' }, silentTrace)
  files.append('a', 'lost')
  expect(() => files.flush()).toThrow(expect.objectContaining({ code: 'ENOSPC' }) as Error)
  files.close()
})
