/**
 * @file How much memory a process has to itself. Linux tells it; elsewhere there is no such number to be had.
 */
import { readFile } from 'node:fs/promises'

/**
 * Private_Clean + Private_Dirty of a process, its threads included: what would be free if it ended. Files that only this process maps count,
 * those that others map too do not.
 * @returns bytes; null where the system does not tell, or the process has ended.
 */
export async function privateBytes(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  const lines = [...text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)]
  return lines.length === 0 ? null : lines.reduce((sum, [, kilobytes]) => sum + 1024 * Number(kilobytes), 0)
}
