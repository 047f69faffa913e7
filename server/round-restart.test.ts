import { describe, expect, test } from 'vitest'
import { activityOf } from './round-queries.js'
import type { RoundEvent, Selection } from './round-state.js'
import { resumedRounds } from './round.js'
import { done, Machine, ready, sent } from './testing/machine.js'

const RESTART = { onClientLoss: 'restart_round', localSteps: 1 } as const
const evaluateAll: Partial<Selection> = { evaluate: (able) => able }
const back = (client: string): RoundEvent[] => [{ type: 'joined', client }, ready(client)]
const activity = (machine: Machine) => activityOf(machine.settings, machine.state)

describe('a round that loses a client, with restart_round,', () => {
  test('starts again with the same clients once it is back, and what belonged to the attempt before changes nothing', () => {
    const machine = new Machine(RESTART, { train: (ready) => ready.slice(0, 2) }).join('a', 'b')
    const first = machine.take('start-round')[0].clients
    machine.step('a', 0)
    const [late, early] = [sent(machine, 'b', 0), done(machine, 'b', 0)]
    machine.tell(late).lose('b')
    expect(machine.take('restart-round')).toEqual([{ type: 'restart-round', attempt: 1, client: 'b', reason: 'vanished' }])
    expect(activity(machine)).toEqual({ doing: 'awaiting', round: 1, clients: ['b'] })
    machine.take('compute')
    machine.tell(early, late).join('c')
    expect(machine.take('start-round')).toEqual([])
    machine.tell(...back('b'))
    expect(machine.take('start-round')[0].clients).toEqual(first)
    machine.tell(early, late)
    expect([...machine.take('compute'), ...machine.take('top-step')]).toEqual([])
    machine.step('a', 0).step('b', 0).adapter('a').adapter('b')
    expect(machine.take('merge')).toEqual([{ type: 'merge', replies: ['a', 'b'], missing: [] }])
    expect(machine.state).toMatchObject({ round: 1, attempt: 1 })
  })

  test('fails by name when it stays away, and says how the run goes on', () => {
    const machine = new Machine(RESTART).join('a', 'b').lose('b')
    const [{ ms, event }] = machine.take('timer')
    expect(ms).toBe(30_000)
    machine.tell(event)
    const { error } = machine.take('fail')[0]
    expect(error.code).toBe('CLIENT_LOST')
    expect(error.why).toContain('b did not come back in 30 s')
    expect(error.fix).toContain('--resume')
  })

  test('gives each loss its own time', () => {
    const machine = new Machine(RESTART)
      .join('a', 'b')
      .lose('b')
      .tell(...back('b'))
      .lose('b')
    const [first, second] = machine.take('timer')
    machine.tell(first.event)
    expect(machine.take('fail')).toEqual([])
    machine.tell(second.event)
    expect(machine.take('fail')).toHaveLength(1)
  })

  test('goes on where the client had replied, and the next round waits for it', () => {
    const machine = new Machine(RESTART).join('a', 'b').step('a', 0).step('b', 0).adapter('b').lose('b').adapter('a')
    expect(machine.take('merge')[0].replies).toEqual(['a', 'b'])
    machine.take('start-round')
    machine.tell({ type: 'merged' })
    expect(machine.take('start-round')).toEqual([])
    expect(machine.state).toMatchObject({ round: 1, phase: { kind: 'gathering', purpose: 'evaluate' } })
    machine.tell(...back('b'))
    expect(machine.state).toMatchObject({ round: 2, phase: { kind: 'training' } })
  })

  test('does so too when a new process takes the place of one that is still there', () => {
    const machine = new Machine(RESTART).join('a', 'b')
    machine.take('start-round')
    machine.tell(...back('b'))
    expect(machine.take('restart-round')[0].reason).toBe('started again')
    expect(machine.take('start-round')).toHaveLength(1)
  })

  test('is not touched by a client that has no part in it, whom the next selection waits for', () => {
    const machine = new Machine({ ...RESTART, minAvailable: 3 }, { train: (ready) => ready.slice(0, 2) }).join('a', 'b', 'c').lose('c')
    expect(machine.take('restart-round')).toEqual([])
    machine.take('start-round')
    machine.step('a', 0).step('b', 0).adapter('a').adapter('b').tell({ type: 'merged' })
    expect(machine.take('start-round')).toEqual([])
    expect(activity(machine)).toMatchObject({ doing: 'awaiting', clients: ['c'] })
    machine.tell(...back('c'))
    expect(machine.take('start-round')).toHaveLength(1)
  })

  test('does not start again for ever', () => {
    const machine = new Machine(RESTART).join('a', 'b')
    for (let attempt = 1; attempt <= 20; attempt++) machine.lose('b').tell(...back('b'))
    expect(machine.state).toMatchObject({ attempt: 20, phase: { kind: 'training' } })
    machine.lose('b')
    expect(machine.take('fail')[0].error).toMatchObject({ code: 'ROUND_FAILED', why: expect.stringContaining('20 times') as string })
  })

  test('starts again also when deadlines leave too few whose adapters count', () => {
    const machine = new Machine({ ...RESTART, localSteps: 3, minAvailable: 4, minReplies: 2, stepDeadlineMs: 1000 }).join(
      'a',
      'b',
      'c',
      'd',
    )
    machine.take('start-round')
    // `a` is always in; each of the others once, and late in two steps of three.
    for (const [step, other] of ['b', 'c', 'd'].entries()) machine.step('a', step).step(other, step).stepDeadline(step)
    const [{ client, attempt, reason }] = machine.take('restart-round')
    expect([client, attempt]).toEqual([null, 1])
    expect(reason).toContain('dropped in 2 of 3 steps')
    expect(machine.take('start-round')).toHaveLength(1)
    expect(machine.state).toMatchObject({ round: 1, attempt: 1, phase: { kind: 'training', step: 0 } })
  })

  test('ends, as asked, though it waits for a client', () => {
    const machine = new Machine(RESTART).join('a', 'b').lose('b').tell({ type: 'stop' })
    expect(machine.take('finish')).toHaveLength(1)
  })
})

describe('an evaluation that loses a client, with restart_round,', () => {
  test('asks it again when it is back, and keeps what others have told', () => {
    const machine = new Machine(RESTART, evaluateAll).join('a', 'b')
    expect(machine.take('evaluate')).toEqual([{ type: 'evaluate', clients: ['a', 'b'], again: false }])
    machine.tell({ type: 'evaluation', client: 'a', round: 0, attempt: 0 }).lose('b')
    expect(machine.take('round-over')).toEqual([])
    machine.tell(...back('b'))
    expect(machine.take('evaluate')).toEqual([{ type: 'evaluate', clients: ['b'], again: true }])
    machine.tell({ type: 'evaluation', client: 'b', round: 0, attempt: 0 })
    expect(machine.take('round-over')).toHaveLength(1)
    expect(machine.state).toMatchObject({ round: 1, phase: { kind: 'training' } })
  })

  test('fails by name when it stays away', () => {
    const machine = new Machine(RESTART, evaluateAll).join('a', 'b').lose('b')
    machine.tell(machine.take('timer')[0].event)
    expect(machine.take('fail')[0].error).toMatchObject({ code: 'CLIENT_LOST', what: 'round 0 cannot be evaluated' })
  })

  test('has its line when the run is asked to stop meanwhile', () => {
    const machine = new Machine(RESTART).join('a', 'b').step('a', 0).step('b', 0).adapter('b').adapter('a').lose('b')
    machine.tell({ type: 'merged' }).take('round-over')
    machine.tell({ type: 'stop' })
    expect(machine.take('round-over')).toEqual([{ type: 'round-over', isUnevaluated: true }])
  })
})

describe('a run that goes on in the middle', () => {
  const resumed = resumedRounds({ round: 2, attempt: 3, localSteps: 1, awaited: ['a', 'b', 'c'] })

  test('waits for all who were there, with restart_round as long as it takes', () => {
    const machine = new Machine({ ...RESTART, minAvailable: 2 }, {}, resumed)
    expect(activity(machine)).toEqual({ doing: 'awaiting', round: 2, clients: ['a', 'b', 'c'] })
    machine.join('a', 'b')
    expect([...machine.take('timer'), ...machine.take('start-round')]).toEqual([])
    expect(activity(machine)).toEqual({ doing: 'awaiting', round: 2, clients: ['c'] })
    machine.join('c')
    expect(machine.take('start-round')[0].clients.map(({ client }) => client)).toEqual(['a', 'b', 'c'])
    expect(machine.state).toMatchObject({ round: 2, attempt: 3 })
  })

  test('gives the last ones reconnect_s once enough are there, and starts with those', () => {
    const machine = new Machine({ localSteps: 1, minAvailable: 2 }, {}, resumed).join('a')
    expect(machine.take('timer')).toEqual([])
    machine.join('b')
    const [{ ms, event }] = machine.take('timer')
    expect(ms).toBe(30_000)
    machine.tell(event)
    expect(machine.take('start-round')[0].clients.map(({ client }) => client)).toEqual(['a', 'b'])
  })
})
