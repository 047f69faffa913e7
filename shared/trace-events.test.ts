import { expect, test } from 'vitest'
import { TraceEvents } from './trace-events.js'
import { epochMicros } from './trace.js'

interface Event {
  readonly ph: string
  readonly name: string
  readonly pid: number
  readonly tid?: number
  readonly ts?: number
  readonly dur?: number
  readonly args?: Readonly<Record<string, unknown>>
}

function recorded(): { trace: TraceEvents; events: Event[]; threadNames(): Record<string, unknown> } {
  const events: Event[] = []
  const trace = new TraceEvents((json) => events.push(JSON.parse(json) as Event), 7, 'server')
  const threadNames = (): Record<string, unknown> =>
    Object.fromEntries(events.filter(({ name }) => name === 'thread_name').map(({ tid, args }) => [String(tid), args!.name]))
  return { trace, events, threadNames }
}

test('the process and each track are named once', () => {
  const { trace, events } = recorded()
  for (let i = 0; i < 3; i++) trace.begin('client-0', 'forward')()
  trace.mark('network', 'receive step')
  expect(events.filter(({ ph }) => ph === 'M')).toEqual([
    { ph: 'M', name: 'process_name', pid: 7, args: { name: 'server' } },
    { ph: 'M', name: 'thread_name', pid: 7, tid: 1, args: { name: 'client-0' } },
    { ph: 'M', name: 'thread_name', pid: 7, tid: 2, args: { name: 'network' } },
  ])
})

test('a span has its time since 1970 in microseconds, and the facts of its beginning and its end', () => {
  const { trace, events } = recorded()
  const before = epochMicros()
  trace.begin('client-0', 'step', { round: 1, step: 2 })({ loss: 3 })
  const { ts, dur, ...span } = events.at(-1)!
  expect(span).toEqual({ ph: 'X', name: 'step', pid: 7, tid: 1, args: { round: 1, step: 2, loss: 3 } })
  expect(ts).toBeGreaterThanOrEqual(Math.floor(before))
  expect(ts! + dur!).toBeLessThanOrEqual(Math.ceil(epochMicros()))
  expect(Math.abs(before / 1000 - Date.now())).toBeLessThan(60_000)
})

test('spans of one track that overlap are drawn on threads of their own, which are used again', () => {
  const { trace, events, threadNames } = recorded()
  const [first, second] = [trace.begin('network', 'a'), trace.begin('network', 'b')]
  first()
  trace.begin('network', 'c')()
  second()
  expect(threadNames()).toEqual({ 1: 'network', 2: 'network (2)' })
  expect(events.filter(({ ph }) => ph === 'X').map(({ name, tid }) => [name, tid])).toEqual([
    ['a', 1],
    ['c', 1],
    ['b', 2],
  ])
})

test('a run of the engine stands on the track of its lane with what it took of the processors', () => {
  const { trace, events, threadNames } = recorded()
  trace.ran(1, 'top-train', { startMicros: 100.4, endMicros: 300.6, processorMicros: 390 })
  expect(threadNames()).toEqual({ 1: 'engine, lane 1' })
  expect(events.at(-1)).toEqual({ ph: 'X', name: 'top-train', pid: 7, tid: 1, ts: 100, dur: 201, args: { processor_ms: 0.39 } })
})

test('steps and runs are counted up for the busy share', () => {
  const { trace } = recorded()
  const end = trace.beginStep('client-0', 'step')
  trace.ran(0, 'top-train', { startMicros: 0, endMicros: 1, processorMicros: 5 })
  end()
  const { firstMicros, lastMicros, processorMicros } = trace.tally
  expect(processorMicros).toBe(5)
  expect(lastMicros! >= firstMicros!).toBe(true)
})
