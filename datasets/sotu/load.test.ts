import { expect, test } from 'vitest'
import { pretrainingCorpus } from '../corpus.js'
import { loadSpeeches, sotuSource } from './load.js'

test('speeches of a span of years come by year, both ends included', async () => {
  // 1933 has no speech, and 1953 has two.
  const speeches = await loadSpeeches({ fromYear: 1932, toYear: 1935 })
  expect(speeches.map(({ year, president }) => [year, president])).toEqual([
    [1932, 'Herbert Hoover'],
    [1934, 'Franklin D Roosevelt'],
    [1935, 'Franklin D Roosevelt'],
  ])
  expect((await loadSpeeches({ fromYear: 1953, toYear: 1953 })).map(({ president }) => president)).toEqual([
    'Dwight D Eisenhower',
    'Harry S Truman',
  ])
  for (const { text } of speeches) expect(text).toBe(text.trim())
})

test('years without a speech give none, not all', async () => {
  expect(await loadSpeeches({ fromYear: 1933, toYear: 1933 })).toEqual([])
  expect(await loadSpeeches({ fromYear: 1000, toYear: 1789 })).toEqual([])
})

test('by default the data set is the speeches from 1900 on, each owned by its president', async () => {
  const { units } = await sotuSource()
  expect(units).toHaveLength(123)
  expect(new Set(units.map(({ owner }) => owner)).size).toBe(22)
  expect(units[0].place).toBe('sotu, William Mc Kinley 1900')
})

test('the pre-training corpus is what a run never trains on', async () => {
  const corpus = await pretrainingCorpus()
  const modern = new Set((await loadSpeeches({ fromYear: 1900, toYear: 2021 })).map(({ text }) => text))
  expect(corpus.filter(({ text }) => modern.has(text))).toEqual([])
  // 233 speeches, 123 of them modern, and 139 parts of the book, of which the table of contents is left out.
  expect(corpus).toHaveLength(233 - 123 + 138)
  expect(corpus.map(({ title }) => title)).not.toContain('Moby Dick, Contents')
  expect(corpus.find(({ title }) => title === 'Moby Dick, 1')?.text).toMatch(/^Call me Ishmael/)
})
