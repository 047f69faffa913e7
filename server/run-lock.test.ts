import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { takeRunLock } from './run-lock.js'

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutlayer-lock-'))
  path = join(folder, 'run.lock')
})
afterEach(() => rmSync(folder, { recursive: true }))

const holder = (changes: Readonly<Record<string, unknown>>): string => {
  const lock = takeRunLock(path)
  const own = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  lock.release()
  return `${JSON.stringify({ ...own, ...changes })}\n`
}

/** If not, what was left there is gone after it. */
function isTaken(): boolean {
  try {
    takeRunLock(path).release()
    return false
  } catch (error) {
    expect(error).toMatchObject({ code: 'RUN_IN_USE' })
    return true
  }
}

test('whoever has it lives, and nobody else may take it until it is released', () => {
  const lock = takeRunLock(path)
  expect(isTaken()).toBe(true)
  expect(() => takeRunLock(path)).toThrow(expect.objectContaining({ code: 'RUN_IN_USE' }) as Error)
  lock.release()
  expect(isTaken()).toBe(false)
  takeRunLock(path).release()
  expect(readdirSync(folder)).toEqual([])
})

test("releasing twice does not take away another's", () => {
  const first = takeRunLock(path)
  first.release()
  const second = takeRunLock(path)
  first.release()
  expect(isTaken()).toBe(true)
  second.release()
})

describe('it is taken over', () => {
  test('from a process that was killed', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const pid = child.pid!
    const began = process.platform === 'linux' ? beganAs(pid) : null
    writeFileSync(path, holder({ pid, began }))
    expect(isTaken()).toBe(true)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(isTaken()).toBe(false)
    takeRunLock(path).release()
  })

  test.skipIf(process.platform !== 'linux')('from one that was killed and that nobody has asked after', async () => {
    // The shell's child ends while the shell, which has become another program, never waits for it.
    const shell = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      const [line] = (await once(shell.stdout, 'data')) as [Buffer]
      const pid = Number(line.toString())
      await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).toMatch(/\) Z /)
      writeFileSync(path, holder({ pid, began: beganAs(pid) }))
      takeRunLock(path).release()
    } finally {
      shell.kill('SIGKILL')
    }
  })

  test.skipIf(process.platform !== 'linux')('from a process whose number another one has now', () => {
    writeFileSync(path, holder({ began: '1' }))
    takeRunLock(path).release()
  })

  test.skipIf(process.platform !== 'linux')('from before the system was started again', () => {
    writeFileSync(path, holder({ boot: 'another life' }))
    takeRunLock(path).release()
  })

  test('from another machine that was silent for a minute, and not before', () => {
    writeFileSync(path, holder({ host: `not-${hostname()}` }))
    expect(() => takeRunLock(path)).toThrow(expect.objectContaining({ code: 'RUN_IN_USE' }) as Error)
    const before = new Date(Date.now() - 61_000)
    utimesSync(path, before, before)
    takeRunLock(path).release()
  })

  test.each(['', '{"pid": 1', 'null'])('from a file that was cut: %j', (text) => {
    writeFileSync(path, text)
    const before = new Date(Date.now() - 2000)
    utimesSync(path, before, before)
    takeRunLock(path).release()
    expect(existsSync(path)).toBe(false)
  })
})

function beganAs(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]!
}
