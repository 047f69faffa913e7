import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openTraceFile } from './trace-file.node.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutlayer-trace-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

interface Content {
  readonly traceEvents: readonly { readonly ph: string; readonly name: string; readonly args?: Readonly<Record<string, unknown>> }[]
  readonly otherData: { readonly engine_busy_share: number | null; readonly tallies: readonly unknown[] }
}
const read = (path: string): Content => JSON.parse(readFileSync(path, 'utf8')) as Content
const spansOf = (path: string): string[] => read(path).traceEvents.flatMap(({ ph, name }) => (ph === 'X' ? [name] : []))

describe('a trace file', () => {
  test('is JSON from its first moment, and at every later one', () => {
    const path = join(folder, 'trace.json')
    const file = openTraceFile(path, 'server')
    expect(spansOf(path)).toEqual([])
    let seen = 0
    for (let i = 0; i < 3000; i++) {
      file.trace.begin('track', `span ${i}`, { text: 'é' })()
      if (i % 500 === 0) seen = Math.max(seen, spansOf(path).length)
    }
    // What waits is bounded: most of it is there long before the end.
    expect(seen).toBeGreaterThan(1000)
    file.finish()
    expect(spansOf(path)).toEqual(Array.from({ length: 3000 }, (_, i) => `span ${i}`))
  })

  test('ends with the share of time in which the engine was busy', () => {
    const path = join(folder, 'trace.json')
    const file = openTraceFile(path, 'server')
    const end = file.trace.beginStep('client-0', 'step')
    file.trace.ran(0, 'top-train', { startMicros: 0, endMicros: 1, processorMicros: 0 })
    while (performance.now() === performance.now());
    end()
    const summary = file.finish()
    expect(summary).toEqual({ file: path, engine_busy_share: 0 })
    expect(read(path).otherData).toMatchObject({ engine_busy_share: 0, tallies: [{ processorMicros: 0 }] })
    expect(file.finish()).toBe(summary)
  })

  test('takes over what other processes wrote, with what they count', () => {
    const path = join(folder, 'trace.json')
    const file = openTraceFile(path, 'server')
    const parts = ['client-0', 'client-1', 'client-2'].map((name) => file.partFor(name))
    for (const part of parts.slice(0, 2)) {
      const other = openTraceFile(part, 'client')
      for (let i = 0; i < 2000; i++) other.trace.begin('client', 'forward')()
      other.trace.beginStep('client', 'step')()
      other.finish()
    }
    file.trace.begin('server', 'top')()
    file.finish() // of client-2 there is nothing: it never came to begin
    const spans = spansOf(path)
    expect(spans.filter((name) => name === 'forward')).toHaveLength(4000)
    expect(spans.filter((name) => name === 'step')).toHaveLength(2)
    expect(read(path).otherData.tallies).toHaveLength(3)
    expect(parts.filter((part) => existsSync(part))).toEqual([])
  })

  test('overwrites an older trace, also a longer one', () => {
    const path = join(folder, 'trace.json')
    for (const spans of [500, 1]) {
      const file = openTraceFile(path, 'server')
      for (let i = 0; i < spans; i++) file.trace.begin('track', 'span')()
      file.finish()
      expect(spansOf(path)).toHaveLength(spans)
    }
  })

  test('leaves out what is told behind its end', () => {
    const path = join(folder, 'trace.json')
    const file = openTraceFile(path, 'server')
    const end = file.trace.begin('engine', 'late')
    file.finish()
    end()
    file.trace.mark('engine', 'x'.repeat(2 ** 17))
    expect(spansOf(path)).toEqual([])
  })

  test('takes over the whole events of a part that was cut as its process was killed', () => {
    const path = join(folder, 'trace.json')
    const file = openTraceFile(path, 'server')
    const part = file.partFor('client-0')
    const whole = '{"ph":"X","name":"whole","pid":1,"tid":1,"ts":1,"dur":1}'
    writeFileSync(part, `{"displayTimeUnit":"ms","traceEvents":[\n${whole},\n{"ph":"X","na\n],"otherDa`)
    file.finish()
    expect(spansOf(path)).toEqual(['whole'])
  })

  test('that came to nothing is removed', () => {
    const path = join(folder, 'trace.json')
    openTraceFile(path, 'server').discard()
    expect(existsSync(path)).toBe(false)
  })

  test.each<[string, () => string, string]>([
    ['in a folder that is not there', () => join(folder, 'none', 'trace.json'), 'no such file or directory'],
    ['that is a folder', () => folder, 'not a file'],
    [
      'that is something else',
      () => (writeFileSync(join(folder, 'config.yaml'), 'a: 1'), join(folder, 'config.yaml')),
      'no trace of cutlayer',
    ],
  ])('%s is refused', (_, pathOf, why) => {
    const path = pathOf()
    expect(() => openTraceFile(path, 'server')).toThrow(
      expect.objectContaining({ code: 'OUTPUT_UNWRITABLE', why: expect.stringContaining(why) as string }) as Error,
    )
  })
})
