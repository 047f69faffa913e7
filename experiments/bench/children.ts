/**
 * @file The memory of this process's children, as native engines run in: Linux counts each process for itself.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** The largest resident memory of each child that runs now, summed; 0 where the system does not tell. */
export function childrensPeakBytes(): number {
  const threads = listed('/proc/self/task')
  const children = threads.flatMap((thread) => read(`/proc/self/task/${thread}/children`).split(' ')).filter((id) => id !== '')
  return children.reduce((sum, id) => sum + 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${id}/status`))?.[1] ?? 0), 0)
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** '' for what is gone, or was never there. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
