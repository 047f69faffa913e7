import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { JsonLinesTail } from './tail.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tail-'))
})
afterEach(() => rm(folder, { recursive: true }))

const Line = z.object({ word: z.string() })

test('reads each line once, when its end is written, wherever the writing stopped', async () => {
  const path = join(folder, 'lines.jsonl')
  const tail = new JsonLinesTail(path, Line)
  expect(await tail.read()).toEqual([])
  const bytes = Buffer.from(`${['one', 'zwölf', 'drei €', 'x'.repeat(300_000)].map((word) => JSON.stringify({ word })).join('\n')}\n`)
  const words: string[] = []
  for (const [from, to] of [
    [0, 20],
    [20, 23],
    [23, 45],
    [45, 46],
    [46, 200_000],
    [200_000, bytes.length],
  ] as const) {
    // prettier-ignore
    await appendFile(path, bytes.subarray(from, to))
    words.push(...(await tail.read()).map(({ word }) => word))
  }
  expect(words).toEqual(['one', 'zwölf', 'drei €', 'x'.repeat(300_000)])
  expect(await tail.read()).toEqual([])
})

test('leaves out what is no line that it knows', async () => {
  const path = join(folder, 'lines.jsonl')
  await appendFile(path, '{"word": 1}\n{"word"\n\n{"word": "last"}\n')
  expect(await new JsonLinesTail(path, Line).read()).toEqual([{ word: 'last' }])
})
