import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { packageRoot } from '../shared/version.node.js'
import { MEMORY_SETTINGS, NODE_FLAGS, spawnProgram } from './own-program.js'

test('the program started by its name has the settings of memory that its own processes have', () => {
  const [line] = readFileSync(join(packageRoot(), 'cli.ts'), 'utf8').split('\n')
  const settings = Object.entries(MEMORY_SETTINGS).map(([name, value]) => `${name}=${value}`)
  expect(line).toBe(`#!/usr/bin/env -S ${settings.join(' ')} node ${NODE_FLAGS.join(' ')}`)
  // Older kernels cut it there.
  expect(line!.length).toBeLessThan(127)
})

test.runIf(process.platform === 'linux')('a process of its own has them too, unless the user has set another', async () => {
  const child = spawnProgram(['--version'], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, MALLOC_ARENA_MAX: '3' } })
  const environment = readFileSync(`/proc/${child.pid}/environ`, 'utf8').split('\0')
  const typed = readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').split('\0')
  const [printed] = await Promise.all([text(child.stdout!), once(child, 'exit')])
  expect(printed).toMatch(/^\d+\.\d+\.\d+/)
  expect(environment).toContain('MALLOC_ARENA_MAX=3')
  expect(environment).toContain('MALLOC_TRIM_THRESHOLD_=4194304')
  expect(typed).toEqual(expect.arrayContaining([...NODE_FLAGS]))
})
