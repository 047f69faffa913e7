/**
 * @file Traces of whole runs: all processes in one file, on one clock, and whole whichever way the run ends.
 */
import { readdir, readFile } from 'node:fs/promises'
import { platform } from 'node:os'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('test')

const Trace = z.object({
  traceEvents: z.array(
    z.object({
      ph: z.enum(['X', 'i', 'M']),
      name: z.string(),
      pid: z.int(),
      tid: z.int().optional(),
      ts: z.int().optional(),
      dur: z.int().nonnegative().optional(),
      args: z.record(z.string(), z.unknown()).optional(),
    }),
  ),
  otherData: z.object({ engine_busy_share: z.number().nullable(), cores: z.int().positive() }),
})

interface Span {
  readonly process: string
  readonly track: string
  readonly name: string
  readonly from: number
  readonly to: number
  readonly facts: Readonly<Record<string, unknown>>
}

async function spansOf(file: string): Promise<{ spans: Span[]; processes: string[]; share: number | null }> {
  const { traceEvents, otherData } = Trace.parse(JSON.parse(await readFile(workshop.at(file), 'utf8')))
  const named = (kind: string) => traceEvents.filter(({ name }) => name === kind)
  const processes = new Map(named('process_name').map(({ pid, args }) => [pid, String(args!.name)]))
  const tracks = new Map(named('thread_name').map(({ pid, tid, args }) => [`${pid}/${tid}`, String(args!.name)]))
  const spans = traceEvents
    .filter(({ ph }) => ph !== 'M')
    .map(({ pid, tid, name, ts = 0, dur = 0, args = {} }) => ({
      process: processes.get(pid)!,
      track: tracks.get(`${pid}/${tid}`)!,
      ...{ name, from: ts, to: ts + dur, facts: args },
    }))
  return { spans, processes: [...processes.values()].sort(), share: otherData.engine_busy_share }
}

/** What every client, and the server, is seen to do. */
const CLIENT = ['step', 'prepare batches', 'forward', 'send activations', 'wait for gradients', 'backward', 'optimizer', 'evaluate']
const SERVER = ['receive activations', 'send gradients', 'top: client-0', 'queued: client-1', 'optimizer', 'aggregate', 'evaluate']
const ENGINE = ['compile top-train', 'top-train', 'top-evaluate', 'bottom-forward', 'bottom-backward', 'bottom-evaluate']
const FILES = ['append to steps', 'append to rounds', 'write the last adapter', 'write the best adapter']

describe.each(['socket', 'memory'])('a run over links of kind %s', (kind) => {
  test('shows what everyone did when, and how busy the engine was', async () => {
    const { envelope, status } = await start('run', await workshop.config('a.yaml'), `transport.kind=${kind}`, '--trace', 'trace.json')
      .ended
    expect(status).toBe(0)
    const { spans, processes, share } = await spansOf('trace.json')
    expect(processes).toEqual(kind === 'socket' ? ['client-0', 'client-1', 'server'] : ['server'])
    const names = new Set(spans.map(({ name }) => name))
    expect([...CLIENT, ...SERVER, ...ENGINE, ...FILES].filter((name) => !names.has(name))).toEqual([])
    expect((envelope.data as { trace: unknown }).trace).toEqual({ file: 'trace.json', engine_busy_share: share })
    // Where the system does not count each thread's time, nothing is claimed.
    if (platform() === 'linux') expect(share).toBeGreaterThan(0)
    // Each thread's clock is read a moment apart.
    if (platform() === 'linux') expect(share).toBeLessThan(1.05)

    // One clock for all: while the top works for a client, the client waits, or still sends.
    const tolerance = 5000
    for (const top of spans.filter(({ name, process }) => name === 'top: client-0' && process === 'server')) {
      const step = spans.find(
        ({ name, track, facts }) =>
          name === 'step' && track === 'client-0 steps' && facts.round === top.facts.round && facts.step === top.facts.step,
      )!
      expect(top.from).toBeGreaterThan(step.from - tolerance)
      expect(top.to).toBeLessThan(step.to + tolerance)
    }
    // Events of one track nest: each lies in the one around it, or behind it.
    const byTrack = new Map<string, Span[]>()
    for (const span of spans) byTrack.set(`${span.process}/${span.track}`, [...(byTrack.get(`${span.process}/${span.track}`) ?? []), span])
    for (const of of byTrack.values()) {
      const sorted = of.sort((a, b) => a.from - b.from || b.to - a.to)
      sorted.forEach((span, i) => i > 0 && span.from < sorted[i - 1]!.to && expect(span.to).toBeLessThanOrEqual(sorted[i - 1]!.to))
    }
    expect((await readdir(workshop.folder)).filter((name) => name.startsWith('trace.json'))).toEqual(['trace.json'])
  })
})

describe('a run that is told to end', () => {
  test.each([
    ['once', ['SIGINT']],
    ['twice', ['SIGINT', 'SIGTERM']],
  ] as const)('%s leaves a whole trace', async (_, signals) => {
    const federation = { num_rounds: 1000, local_steps: 5 }
    const run = start('run', await workshop.config('long.yaml', { federation }), '--trace', 'trace.json')
    await run.line({ event: 'round', round: 1 })
    for (const signal of signals) run.child.kill(signal)
    expect((await run.ended).status).toBe(130)
    const { spans } = await spansOf('trace.json')
    expect(spans.some(({ name }) => name === 'aggregate')).toBe(true)
    if (signals.length === 1) expect(spans.some(({ process, name }) => process === 'client-0' && name === 'backward')).toBe(true)
  })

  test('by the system, without a word, leaves what was written until then', async () => {
    const federation = { num_rounds: 1000, local_steps: 5 }
    const run = start('run', await workshop.config('long.yaml', { federation }), 'transport.kind=memory', '--trace', 'trace.json')
    await run.line({ event: 'round', round: 1 })
    run.child.kill('SIGKILL')
    await run.ended
    await spansOf('trace.json')
  })
})

test('a run that does not come to begin leaves no trace', async () => {
  const { status } = await start('run', await workshop.config('a.yaml'), 'split.cut_layer=9', '--trace', 'trace.json').ended
  expect(status).toBe(4)
  expect(await readdir(workshop.folder)).not.toContain('trace.json')
})
