/**
 * @file Starts this program as a process of its own.
 */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { join } from 'node:path'
import { packageRoot } from '../shared/version.node.js'

/**
 * How glibc is to give freed memory back, which it reads from the environment only. Left to itself it keeps what a step has used: a client of the
 * GPT-2 small shape was measured to take 205 MB with these and 272 MB without, at the same speed. `cli.ts` has them in its first line, for
 * whoever starts the program by its name; what the user has set is stronger here.
 */
export const MEMORY_SETTINGS: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '999424',
  MALLOC_TRIM_THRESHOLD_: '4194304',
}

/**
 * How large V8 lets the space for young objects grow, MB: three times that, in each thread. Left at 16 the heaps of a client take 30 MB more. In `cli.ts`,
 * too.
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=2']

/** @param args as they would be typed behind `cutlayer` */
export function spawnProgram(args: readonly string[], { env = process.env, ...options }: SpawnOptions): ChildProcess {
  return spawn(process.execPath, [...NODE_FLAGS, join(packageRoot(), 'dist', 'cli.js'), ...args], {
    ...options,
    env: { ...MEMORY_SETTINGS, ...env },
  })
}
