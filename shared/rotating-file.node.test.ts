import fc from 'fast-check'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { RotatingFile } from './rotating-file.node.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-rotating-'))
})
afterAll(() => rm(folder, { recursive: true }))

let paths = 0
const newPath = (): string => join(folder, String(paths++), 'a.log')
/** What is kept, from the oldest file to the one that is written. */
function kept(path: string): string[] {
  const parent = join(path, '..')
  const numbers = readdirSync(parent).map((name) => Number(name.slice('a.log.'.length) || '0'))
  return numbers.sort((a, b) => b - a).map((number) => readFileSync(number === 0 ? path : `${path}.${number}`, 'utf8'))
}

test('what is kept is the end of what was appended, in whole lines, in no more files and bytes than allowed', () => {
  const line = fc.string({ maxLength: 30 }).map((text) => `${text.replaceAll('\n', ' ')}\n`)
  const restarts = fc.array(fc.array(line, { maxLength: 30 }), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(restarts, fc.integer({ min: 20, max: 200 }), fc.integer({ min: 1, max: 5 }), (processes, maxBytes, files) => {
      const path = newPath()
      for (const lines of processes) {
        const file = new RotatingFile(path, { maxBytes, files })
        for (const text of lines) {
          file.append(text)
          // At once: a crash would lose nothing.
          expect(readFileSync(path, 'utf8').endsWith(text)).toBe(true)
        }
        file.close()
      }
      const parts = kept(path)
      expect(parts.length).toBeLessThanOrEqual(files)
      const longest = Math.max(...processes.flat().map((text) => Buffer.byteLength(text)), 0)
      for (const part of parts) {
        expect(Buffer.byteLength(part)).toBeLessThanOrEqual(Math.max(maxBytes, longest))
        expect(part === '' || part.endsWith('\n')).toBe(true)
      }
      const all = processes.flat().join('')
      expect(all.endsWith(parts.join(''))).toBe(true)
      // Nothing goes while there is room for it.
      if (Buffer.byteLength(all) <= maxBytes) expect(parts.join('')).toBe(all)
    }),
  )
})

test('a file is set aside before the line that would overflow it, the oldest goes, and so do those of a time when more were kept', () => {
  const path = newPath()
  const limits = { maxBytes: 10, files: 4 }
  const file = new RotatingFile(path, limits)
  for (const text of ['11111\n', '22222\n', '33333\n', '44444\n', '55555\n']) file.append(text)
  file.close()
  expect(kept(path)).toEqual(['22222\n', '33333\n', '44444\n', '55555\n'])
  const fewer = new RotatingFile(path, { ...limits, files: 2 })
  fewer.append('66666\n')
  fewer.close()
  expect(kept(path)).toEqual(['55555\n', '66666\n'])
})

test('a line that comes in pieces stays whole, unless it never ends', () => {
  const path = newPath()
  const file = new RotatingFile(path, { maxBytes: 10, files: 3 })
  for (const piece of ['12345678', 'abcdefg', '\n']) file.append(piece)
  expect(kept(path)).toEqual(['12345678abcdefg\n'])
  for (let piece = 0; piece < 10; piece++) file.append('12345678')
  file.close()
  expect(kept(path).map(({ length }) => length)).toEqual([24, 24, 8])
})

test('what follows the half line of a process that was killed is a line of its own', () => {
  const path = newPath()
  mkdirSync(join(path, '..'))
  writeFileSync(path, '{"level":"in')
  const file = new RotatingFile(path, { maxBytes: 1000, files: 3 })
  file.append('whole\n')
  file.close()
  file.append('after its end\n')
  expect(kept(path)).toEqual(['{"level":"in\nwhole\n'])
})

test('where a full file cannot be set aside, it grows, and nothing is lost', () => {
  const path = newPath()
  // A folder with something in it takes no other's name.
  mkdirSync(join(`${path}.1`, 'in the way'), { recursive: true })
  const file = new RotatingFile(path, { maxBytes: 10, files: 2 })
  const lines = ['11111\n', '22222\n', '33333\n', '44444\n']
  for (const text of lines) file.append(text)
  file.close()
  expect(readFileSync(path, 'utf8')).toBe(lines.join(''))
})
