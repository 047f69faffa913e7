/**
 * @file Rows of random words that fill whatever length a benchmark asks for.
 */
import { writeFile } from 'node:fs/promises'
import { derive } from '../../shared/random.js'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

/**
 * Writes a JSONL file. Every row is cut at `tokens` by `data.max_length`: a word of a row is at least one token.
 * @param rows how many, at least 1.
 */
export async function writeRandomRows(path: string, rows: number, tokens: number): Promise<void> {
  const random = derive(1, 'benchmark rows')
  const word = (): string => Array.from({ length: 3 }, () => LETTERS[random.below(LETTERS.length)]).join('')
  const line = (): string => JSON.stringify({ text: Array.from({ length: tokens }, word).join(' ') })
  await writeFile(path, Array.from({ length: rows }, () => `${line()}\n`).join(''))
}
