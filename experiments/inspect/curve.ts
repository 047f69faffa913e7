/**
 * @file Small curves in text: one character for each measurement.
 */
/** From low to high. */
const BLOCKS = [...'▁▂▃▄▅▆▇█']
/** For terminals without Unicode: the more ink, the higher. */
const INK = [...'_.:-=+*#']

export type Glyphs = 'unicode' | 'ascii'

/** More measurements than this are drawn as the means of neighbours. */
export const MOST_CELLS = 60

/**
 * A curve from left to right, lowest value at the bottom, highest at the top. What was not measured (null, NaN, infinite) is a gap, and a curve
 * without any height runs in the middle.
 *
 * @param most cells at most, at least 1. With more values a cell is the mean of those that fall into it, and a gap only if none was measured.
 * @returns as many characters as there are values, or `most`.
 */
export function curve(values: readonly (number | null)[], glyphs: Glyphs, most: number = MOST_CELLS): string {
  const cells = inCells(values.map(measuredOrNull), most)
  const measured = cells.filter((value) => value !== null)
  const [low, high] = measured.reduce(
    ([least, largest], value) => [Math.min(least, value), Math.max(largest, value)],
    [Infinity, -Infinity],
  )
  const levels = glyphs === 'unicode' ? BLOCKS : INK
  const levelOf = (value: number): number => {
    const share = high > low ? shareOf(value, low, high) : 0.5
    return Math.min(levels.length - 1, Math.floor(share * levels.length))
  }
  return cells.map((value) => (value === null ? ' ' : levels[levelOf(value)])).join('')
}

function shareOf(value: number, low: number, high: number): number {
  if (Number.isFinite(high - low)) return (value - low) / (high - low)
  // The span of the largest numbers is no number; halves of the smallest would be none.
  return (value / 2 - low / 2) / (high / 2 - low / 2)
}

function measuredOrNull(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null
}

function inCells(values: readonly (number | null)[], most: number): (number | null)[] {
  if (values.length <= most) return [...values]
  return Array.from({ length: most }, (_, cell) => {
    const [from, to] = [cell, cell + 1].map((edge) => Math.floor((edge * values.length) / most))
    const measured = values.slice(from, to).filter((value) => value !== null)
    return measured.length === 0 ? null : measured.reduce((mean, value) => mean + value / measured.length, 0)
  })
}

/**
 * What a terminal of this locale can show: the first of LC_ALL, LC_CTYPE and LANG that is set decides, as POSIX has it. Windows sets none of
 * them; its newer terminals, which set WT_SESSION or TERM_PROGRAM, show Unicode.
 */
export function glyphsOf(environment: Readonly<Record<string, string | undefined>>, platform: string): Glyphs {
  const locale = [environment.LC_ALL, environment.LC_CTYPE, environment.LANG].find((value) => value !== undefined && value !== '')
  if (locale !== undefined) return /utf-?8/i.test(locale) ? 'unicode' : 'ascii'
  return platform === 'win32' && (environment.WT_SESSION ?? environment.TERM_PROGRAM) !== undefined ? 'unicode' : 'ascii'
}
