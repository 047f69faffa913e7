/**
 * @file The memory of a process as Linux counts it: what /proc says, read and added up. Pure but for `readMemory`.
 */
import { readFileSync } from 'node:fs'
import { unreachable } from '../../../shared/errors.js'

/** Bytes. */
export interface ProcessMemory {
  /** Private_Clean + Private_Dirty of smaps_rollup: pages that no other process, and no second mapping of this one, has too. */
  readonly privateBytes: number
  /** Private_Dirty alone: what was written, and cannot be dropped and read again from a file. */
  readonly dirtyBytes: number
  /** Rss: of all mappings, shared ones as if they were its own. */
  readonly residentBytes: number
  /** VmHWM of status: the most that Rss has been, as the kernel keeps it. */
  readonly peakResidentBytes: number
}

/** @returns null for a process that has ended. */
export function readMemory(pid: number): ProcessMemory | null {
  try {
    return parseMemory(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return null
  }
}

/**
 * @param rollup text of /proc/PID/smaps_rollup
 * @param status text of /proc/PID/status
 * @returns null where they lack the fields, as those of a process that is about to end do.
 * Source: proc_pid_smaps(5), proc_pid_status(5); their kB are KiB.
 */
export function parseMemory(rollup: string, status: string): ProcessMemory | null {
  const [clean, dirty, resident] = ['Private_Clean', 'Private_Dirty', 'Rss'].map((name) => field(rollup, name))
  const peak = field(status, 'VmHWM')
  if (clean === null || dirty === null || resident === null || peak === null) return null
  return { privateBytes: clean + dirty, dirtyBytes: dirty, residentBytes: resident, peakResidentBytes: peak }
}

/**
 * Bytes of files in `folder` that are resident through a process's mappings. Parts that several of its mappings have count once.
 * @param smaps text of /proc/PID/smaps
 */
export function mappedBytes(smaps: string, folder: string): number {
  const largest = new Map<string, number>()
  for (const [, , offset, path, rest] of smaps.matchAll(MAPPING)) {
    if (!path.startsWith(`${folder}/`)) continue
    const key = `${offset} ${path}`
    largest.set(key, Math.max(largest.get(key) ?? 0, field(rest, 'Rss') ?? 0))
  }
  return [...largest.values()].reduce((sum, bytes) => sum + bytes, 0)
}

/** @returns null for a process that has ended. */
export function readMappedBytes(pid: number, folder: string): number | null {
  try {
    return mappedBytes(readFileSync(`/proc/${pid}/smaps`, 'utf8'), folder)
  } catch {
    return null
  }
}

/** `7f..-7f.. r--s 00100000 fe:00 123  /path` and the lines of fields under it. */
const MAPPING = /^([0-9a-f]+-[0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+[ \t]+(\/[^\n]*)\n((?:[A-Z][^\n]*\n)*)/gm

function field(text: string, name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
  return found ? 1024 * Number(found[1] ?? unreachable('a match without its group')) : null
}
