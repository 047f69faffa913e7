import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Inflight, type OfferedBatch } from './inflight.js'
import type { Turn } from './round-queries.js'
import type { RoundSettings } from './round-state.js'
import { SimulatedRun, Tape } from './testing/simulated-run.js'

const BATCH: OfferedBatch = { purpose: 'train', round: 1, attempt: 0, step: 0, micro: 0 }

/** Room for 100 tokens of a byte each, and micro-batches of at most 40. */
function openRoom(turns: Readonly<Record<string, Turn>> = {}, limitBytes = 100) {
  const granted: string[] = []
  const inflight = new Inflight({
    ...{ limitBytes, bytesPerToken: 1, mostTokens: 40 },
    turns: () => (client) => turns[client] ?? 'now',
    grant: (client, { step, micro }) => granted.push(`${client}/${step}/${micro}`),
  })
  return { inflight, granted }
}

test('clients are asked to offer what they send only where the largest micro-batches of all do not fit', () => {
  const { inflight } = openRoom()
  expect([0, 1, 2].map((clients) => inflight.begin(clients))).toEqual([false, false, false])
  expect(inflight.begin(3)).toBe(true)
  expect(openRoom({}, 30).inflight.begin(1), 'one alone').toBe(false)
})

test('who finds no room waits in the order of asking, and nobody overtakes', () => {
  const { inflight, granted } = openRoom()
  for (const [client, tokens] of [
    ['a', 40],
    ['b', 40],
    ['c', 30],
    ['d', 10],
  ] as const)
    inflight.offer(client, BATCH, tokens)
  expect(granted).toEqual(['a/0/0', 'b/0/0'])
  expect(inflight.heldBytes).toBe(80)
  inflight.release('b', BATCH)
  expect(granted).toEqual(['a/0/0', 'b/0/0', 'c/0/0', 'd/0/0'])
  expect(inflight.heldBytes).toBe(80)
})

test('who is ahead gets room only beside which the largest micro-batch still fits, and is behind all whom the top waits for', () => {
  const turns: Record<string, Turn> = { ahead: 'later', far: 'later' }
  const { inflight, granted } = openRoom(turns)
  inflight.offer('ahead', BATCH, 40)
  inflight.offer('far', BATCH, 21)
  expect(granted).toEqual(['ahead/0/0'])
  inflight.offer('a', BATCH, 40)
  inflight.offer('b', BATCH, 30)
  expect(granted).toEqual(['ahead/0/0', 'a/0/0'])
  turns.far = 'now'
  inflight.release('a', BATCH)
  expect(granted).toEqual(['ahead/0/0', 'a/0/0', 'far/0/0', 'b/0/0'])
})

test('where the first to come has the turn, one is let in, and others beside it as those who are ahead', () => {
  const { inflight, granted } = openRoom({ a: 'open', b: 'open', c: 'open' })
  inflight.offer('a', BATCH, 30)
  inflight.offer('b', BATCH, 30)
  inflight.offer('c', BATCH, 1)
  expect(granted).toEqual(['a/0/0', 'b/0/0'])
})

test('a micro-batch that alone is more than the limit is let in alone', () => {
  const { inflight, granted } = openRoom({ ahead: 'later' }, 30)
  inflight.offer('ahead', BATCH, 1)
  inflight.offer('a', BATCH, 40)
  inflight.offer('b', BATCH, 1)
  expect(granted).toEqual(['a/0/0'])
  inflight.release('a', BATCH)
  expect(granted).toEqual(['a/0/0', 'b/0/0'])
})

describe('what is not waited for any more', () => {
  test('gives its room to others: a step that was given up, a client that is out', () => {
    const { inflight, granted } = openRoom()
    for (const client of ['a', 'b', 'c', 'd']) inflight.offer(client, BATCH, 40)
    inflight.forget('c') // it waits no longer
    inflight.forget('a', 0)
    expect(granted).toEqual(['a/0/0', 'b/0/0'])
    inflight.grantWhatFits()
    expect(granted).toEqual(['a/0/0', 'b/0/0', 'd/0/0'])
    inflight.forget('b', 7) // another step than it is in
    expect(inflight.heldBytes).toBe(80)
  })

  test('counts until the engine, which has it, is through', () => {
    const { inflight } = openRoom()
    inflight.offer('a', BATCH, 40)
    inflight.computing('a', BATCH)
    inflight.forget('a')
    inflight.begin(3)
    expect(inflight.heldBytes).toBe(40)
    inflight.release('a', BATCH)
    inflight.release('a', BATCH)
    expect(inflight.heldBytes).toBe(0)
  })
})

describe('activations', () => {
  const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

  test('are refused without a grant, or if they are more than was granted, where grants are asked for', () => {
    const { inflight } = openRoom()
    inflight.begin(3)
    expect(() => inflight.check('a', BATCH, 1)).toThrow(refusal)
    inflight.offer('a', BATCH, 20)
    expect(() => inflight.check('a', BATCH, 21)).toThrow(refusal)
    expect(() => inflight.check('a', { ...BATCH, micro: 1 }, 20)).toThrow(refusal)
    inflight.check('a', BATCH, 20)
    inflight.begin(2)
    inflight.check('a', BATCH, 21)
  })

  test('are refused as they are offered if there can be none so large; a repeated offer is granted again and counts once', () => {
    const { inflight, granted } = openRoom()
    expect(() => inflight.offer('a', BATCH, 41)).toThrow(refusal)
    inflight.offer('a', BATCH, 40)
    inflight.offer('a', BATCH, 40)
    expect(granted).toEqual(['a/0/0', 'a/0/0'])
    expect(inflight.heldBytes).toBe(40)
  })
})

const MOST_TOKENS = 12

const scenario = fc
  .record({
    clients: fc.integer({ min: 2, max: 5 }),
    top: fc.constantFrom('joint' as const, 'sequential' as const, 'replicated' as const),
    order: fc.constantFrom('id' as const, 'arrival' as const),
    accumulation: fc.integer({ min: 1, max: 3 }),
    localSteps: fc.integer({ min: 1, max: 4 }),
    limitBytes: fc.integer({ min: 1, max: 4 * MOST_TOKENS }),
    skipEvery: fc.constantFrom(0, 2, 3, 5),
    deadlines: fc.boolean(),
    sizes: fc.array(fc.integer({ min: 1, max: MOST_TOKENS }), { minLength: 7, maxLength: 7 }),
    tape: fc.array(fc.nat(9999), { minLength: 20, maxLength: 300 }),
  })
  .map(({ clients, top, order, accumulation, localSteps, limitBytes, skipEvery, deadlines, sizes, tape }) => {
    const ids = Array.from({ length: clients }, (_, i) => `c${i}`)
    const settings: RoundSettings = {
      ...{ rounds: 2, remoteSteps: true, top, order, accumulation, localSteps, localEpochs: null, rowsPerStep: 2 },
      ...{ minAvailable: clients, minTrain: 1, minReplies: 1, evaluateEvery: 1, gatherMs: 1000, onClientLoss: 'continue' },
      ...{ stepDeadlineMs: deadlines ? 1000 : null, roundDeadlineMs: deadlines ? 5000 : null },
    }
    return {
      settings,
      counts: new Map(ids.map((id, i) => [id, { examples: 5, tokens: 15, evalExamples: i % 2 }])),
      selection: { train: (ready: readonly string[]) => ready, evaluate: (ready: readonly string[]) => ready },
      skips: (client: string, round: number, step: number) =>
        skipEvery > 0 && (Number(client.slice(1)) + round * 7 + step * 3) % skipEvery === 0,
      inflight: {
        ...{ limitBytes, bytesPerToken: 1, mostTokens: MOST_TOKENS },
        tokensOf: (client: string, round: number, step: number, micro: number) =>
          sizes[(Number(client.slice(1)) + 3 * round + 5 * step + micro) % sizes.length],
      },
      tape,
    }
  })

const watcher = { event: () => {}, effect: () => {} }

describe('rounds of clients that wait for room', () => {
  test('end, however little room there is, and never take more than there is, or one micro-batch', () => {
    let waited = 0
    fc.assert(
      fc.property(scenario, ({ tape, ...given }) => {
        const calm = tape.map((number) => number | 1) // never 0 below 8, so no accident happens
        const run = new SimulatedRun({ ...given, tape: new Tape(calm), watcher })
        run.run()
        expect(run.state.phase.kind).toBe('finished')
        expect(run.mostHeld).toBeLessThanOrEqual(Math.max(given.inflight.limitBytes, MOST_TOKENS))
        waited += run.waited
      }),
      { numRuns: 500 },
    )
    expect(waited).toBeGreaterThan(500)
  })

  test('end also when clients come and go, deadlines pass and messages are repeated', () => {
    const ends = new Map<string, number>()
    fc.assert(
      fc.property(scenario, ({ tape, ...given }) => {
        const run = new SimulatedRun({ ...given, tape: new Tape(tape), watcher })
        run.run()
        run.exhaustTimers()
        expect(run.mostHeld).toBeLessThanOrEqual(Math.max(given.inflight.limitBytes, MOST_TOKENS))
        const { kind } = run.state.phase
        expect(run.state.started ? ['finished', 'failed'] : ['gathering']).toContain(kind)
        ends.set(kind, (ends.get(kind) ?? 0) + 1)
      }),
      { numRuns: 500 },
    )
    expect(ends.get('finished')).toBeGreaterThan(50)
  })
})
