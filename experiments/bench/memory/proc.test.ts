import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mappedBytes, parseMemory, readMemory } from './proc.js'
import { expect, test } from 'vitest'

/** Shortened from those of real processes. */
const ROLLUP = `55d0-7ffc ---p 00000000 00:00 0                          [rollup]
Rss:              730 kB
Pss:              400 kB
Shared_Clean:     244 kB
Private_Clean:      3 kB
Private_Dirty:     48 kB
`
const STATUS = `Name:\tnode
VmHWM:\t     755 kB
VmRSS:\t     730 kB
`

test('private memory is clean and dirty pages together, in bytes', () => {
  expect(parseMemory(ROLLUP, STATUS)).toEqual({
    privateBytes: 51 * 1024,
    dirtyBytes: 48 * 1024,
    residentBytes: 730 * 1024,
    peakResidentBytes: 755 * 1024,
  })
})

test('a process that is about to end, whose fields are gone, has no memory to tell of', () => {
  expect(parseMemory('', STATUS)).toBeNull()
  expect(parseMemory(ROLLUP, 'Name:\tnode\nState:\tZ (zombie)\n')).toBeNull()
})

test('a part of a weight file that three programs have mapped counts once, and other files do not count', () => {
  const mapping = (range: string, offset: string, path: string, kilobytes: number): string =>
    `${range} r--p ${offset} fe:00 123    ${path}\nSize:   4096 kB\nRss:    ${kilobytes} kB\nVmFlags: rd mr mw me\n`
  const smaps = [
    mapping('7f00-7f10', '00001000', '/cache/weights/block-0.bin', 40),
    mapping('7f10-7f20', '00001000', '/cache/weights/block-0.bin', 100),
    mapping('7f20-7f30', '00001000', '/cache/weights/block-0.bin', 70),
    mapping('7f30-7f40', '00002000', '/cache/weights/block-0.bin', 8),
    mapping('7f40-7f50', '00000000', '/cache/weights-of-another/block-0.bin', 500),
    '7f50-7f60 rw-p 00000000 00:00 0 \nRss:   900 kB\nVmFlags: rd wr\n',
    mapping('7f60-7f70', '00000000', '/usr/lib/libc.so.6', 300),
  ].join('')
  expect(mappedBytes(smaps, '/cache/weights')).toBe(108 * 1024)
})

test.runIf(process.platform === 'linux')(
  'a process that fills 64 MB has at least that as private memory, and one that has ended has none',
  async () => {
    const child = spawn(process.execPath, ['-e', "const b = Buffer.alloc(64e6, 1); console.log('full'); setInterval(() => b, 1e6)"], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    const { privateBytes, dirtyBytes, residentBytes, peakResidentBytes } = readMemory(child.pid!)!
    expect(dirtyBytes).toBeGreaterThan(64e6)
    expect([dirtyBytes, privateBytes, residentBytes, peakResidentBytes]).toEqual(
      [dirtyBytes, privateBytes, residentBytes, peakResidentBytes].sort((a, b) => a - b),
    )
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(readMemory(child.pid!)).toBeNull()
  },
)
