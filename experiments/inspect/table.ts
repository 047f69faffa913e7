/**
 * @file Tables in plain text.
 */
export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string
  /** Numbers stand to the right. */
  readonly align?: 'left' | 'right'
}

/** Columns two spaces apart, as wide as their widest cell, under their titles; one line each, ended by a newline. */
export function table<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  paintTitle: (text: string) => string = (text) => text,
): string {
  const cells = rows.map((row) => columns.map(({ cell }) => cell(row)))
  const widths = columns.map(({ title }, index) => Math.max(title.length, ...cells.map((line) => line[index]!.length)))
  const layOut = (line: readonly string[]): string =>
    line
      .map((cell, index) => (columns[index]!.align === 'right' ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!)))
      .join('  ')
      .trimEnd()
  const titles = paintTitle(layOut(columns.map(({ title }) => title)))
  return [titles, ...cells.map(layOut)].map((line) => `${line}\n`).join('')
}

/** A loss or perplexity to `digits` places; `-` where there is none. */
export function measured(value: number | null, digits: number): string {
  return value === null ? '-' : value.toFixed(digits)
}
