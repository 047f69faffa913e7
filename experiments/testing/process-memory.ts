/**
 * @file What a process's own memory comes to (Linux): without files that are mapped into it, which the system takes back when it needs the room.
 */
import { readFileSync } from 'node:fs'

/** Whether the system tells. */
export const MEMORY_IS_TOLD = process.platform === 'linux'

/** Bytes; null once the process is gone. */
export function ownBytes(pid: number): number | null {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kilobytes === undefined ? null : Number(kilobytes) * 1024
  } catch {
    return null
  }
}

export interface MemoryWatch {
  /** The most of each process since the watch began, bytes, by name. */
  readonly most: ReadonlyMap<string, number>
  end(): void
}

/** Looks at processes many times a second. */
export function watchMemory(pids: Readonly<Record<string, number>>): MemoryWatch {
  const most = new Map<string, number>()
  const look = (): void => {
    for (const [name, pid] of Object.entries(pids)) most.set(name, Math.max(most.get(name) ?? 0, ownBytes(pid) ?? 0))
  }
  look()
  const timer = setInterval(look, 20)
  return { most, end: () => clearInterval(timer) }
}
