import { describe, expect, test } from 'vitest'
import { isAdapterAwaited, isAwaited, isEvaluationAwaited } from './round-queries.js'
import { done, Machine, place, ready, sent, skip } from './testing/machine.js'

describe('a run', () => {
  test('starts when min_available_clients are ready, and not when they have only joined', () => {
    const machine = new Machine().join('a').tell({ type: 'joined', client: 'b' })
    expect(machine.take('start-round')).toEqual([])
    machine.tell(ready('b'))
    expect(machine.take('start-round')[0].clients).toEqual([
      { client: 'a', steps: 2 },
      { client: 'b', steps: 2 },
    ])
  })

  test('evaluates before training, every n rounds, and after the last', () => {
    const machine = new Machine({ rounds: 5, evaluateEvery: 2, localSteps: 1, minAvailable: 1 }, { evaluate: (able) => able }).join('a')
    const rounds: number[] = []
    for (;;) {
      if (machine.take('evaluate').length > 0) {
        rounds.push(machine.state.round)
        machine.tell({ type: 'evaluation', client: 'a', round: machine.state.round, attempt: 0 })
      }
      if (machine.take('finish').length > 0) break
      if (machine.state.phase.kind === 'training') machine.step('a', 0).adapter('a').tell({ type: 'merged' })
    }
    expect(rounds).toEqual([0, 2, 4, 5])
  })

  test('goes on with fewer clients than it needed to begin', () => {
    const machine = new Machine({ localSteps: 1 }).join('a', 'b').lose('b').step('a', 0).adapter('a').tell({ type: 'merged' })
    expect(machine.state).toMatchObject({ round: 2, phase: { kind: 'training' } })
  })

  test('waits for clients between rounds, and fails by name when none come', () => {
    const machine = new Machine({ localSteps: 1, minReplies: 2 }).join('a', 'b').step('a', 0).step('b', 0).adapter('a').adapter('b')
    machine.lose('b').tell({ type: 'merged' })
    expect(machine.state.phase.kind).toBe('gathering')
    const [{ event, ms }] = machine.take('timer')
    expect(ms).toBe(30_000)
    machine.tell(event)
    expect(machine.take('fail')[0].error.code).toBe('NOT_ENOUGH_CLIENTS')
  })

  test('takes a client that joins late from the next round on', () => {
    const machine = new Machine({ localSteps: 1, minAvailable: 1 }).join('a')
    machine.take('start-round')
    machine.join('b')
    expect(machine.take('start-round')).toEqual([])
    machine.step('a', 0).adapter('a').tell({ type: 'merged' })
    expect(machine.take('start-round')[0].clients.map(({ client }) => client)).toEqual(['a', 'b'])
  })

  test('is as long as the longest client with local_epochs, and does not wait for one that is through', () => {
    const machine = new Machine({ localSteps: null, localEpochs: 2, rowsPerStep: 2 })
    machine.tell({ type: 'joined', client: 'a' }, ready('a', 3), { type: 'joined', client: 'b' }, ready('b', 2))
    // ceil(3 / 2) * 2 and ceil(2 / 2) * 2
    expect(machine.take('start-round')[0].clients).toEqual([
      { client: 'a', steps: 4 },
      { client: 'b', steps: 2 },
    ])
    expect(machine.state.localSteps).toBe(4)
    for (const step of [0, 1]) machine.step('a', step).step('b', step)
    machine.adapter('b').step('a', 2).step('a', 3).adapter('a')
    expect(machine.take('top-step').map(({ clients }) => clients)).toEqual([['a', 'b'], ['a', 'b'], ['a'], ['a']])
    expect(machine.take('merge')[0].replies).toEqual(['a', 'b'])
  })

  test('trains with those whom the strategy selects, and refuses a selection of clients that are not there', () => {
    const machine = new Machine({}, { train: () => ['b'] }).join('a', 'b')
    expect(machine.take('start-round')[0].clients.map(({ client }) => client)).toEqual(['b'])
    expect(new Machine({}, { train: () => ['nobody'] }).join('a', 'b').take('fail')[0].error.code).toBe('BAD_STRATEGY')
    expect(new Machine({}, { train: () => [] }).join('a', 'b').take('fail')[0].error.code).toBe('BAD_STRATEGY')
    expect(new Machine({}, { evaluate: () => ['a', 'a'] }).join('a', 'b').take('fail')[0].error.code).toBe('BAD_STRATEGY')
  })

  test('keeps what a client first said of itself', () => {
    const machine = new Machine().join('a').tell(ready('a', 1000))
    expect(machine.state.members.get('a')!.counts!.examples).toBe(4)
  })
})

describe('a joint step', () => {
  test('computes what comes at once, and moves the top when the last is in, in id order', () => {
    const machine = new Machine().join('a', 'b').step('b', 0)
    expect(machine.take('reply')).toHaveLength(1)
    expect(machine.take('top-step')).toEqual([])
    machine.step('a', 0)
    expect(machine.take('top-step')).toEqual([{ type: 'top-step', step: 0, clients: ['a', 'b'] }])
  })

  test('keeps the next step of a fast client until this one is closed', () => {
    const machine = new Machine().join('a', 'b').step('a', 0)
    machine.tell(sent(machine, 'a', 1))
    expect(machine.take('compute')).toHaveLength(1)
    machine.step('b', 0)
    expect(machine.take('compute').map(({ client, step }) => `${client}${step}`)).toEqual(['b0', 'a1'])
  })

  test('goes on when a client that ran ahead, with nothing to score, is the only one left', () => {
    const machine = new Machine({ localSteps: 3 }).join('a', 'b')
    machine.tell(skip(machine, 'a', 0), skip(machine, 'a', 1), sent(machine, 'a', 2))
    expect(machine.take('compute')).toEqual([])
    machine.lose('b')
    expect(machine.take('compute')).toEqual([{ type: 'compute', client: 'a', step: 2, micro: 0 }])
  })

  test('keeps what a client has given when it is lost before the step is closed', () => {
    const machine = new Machine().join('a', 'b').step('a', 0)
    machine.tell(sent(machine, 'a', 1)).lose('a')
    expect(machine.take('discard')).toEqual([{ type: 'discard', client: 'a', step: 1 }])
    machine.step('b', 0)
    expect(machine.take('top-step')[0].clients).toEqual(['a', 'b'])
  })

  test('forgets a client that is lost in the middle of it, and what the engine then brings', () => {
    const machine = new Machine({ accumulation: 2 }).join('a', 'b')
    machine
      .step('a', 0, 1)
      .tell(sent(machine, 'a', 0, 1))
      .lose('a')
    expect(machine.take('discard')).toEqual([{ type: 'discard', client: 'a', step: 0 }])
    machine.take('reply')
    machine.tell(done(machine, 'a', 0, 1))
    expect(machine.take('reply')).toEqual([])
    machine.step('b', 0)
    expect(machine.take('top-step')[0].clients).toEqual(['b'])
  })

  test('takes no micro-batch twice, out of order, or beyond the step', () => {
    const machine = new Machine({ accumulation: 2 }).join('a', 'b')
    machine.tell(sent(machine, 'a', 0, 1), sent(machine, 'a', 0, 0), sent(machine, 'a', 0, 0), sent(machine, 'a', 1, 0))
    expect(machine.take('compute')).toEqual([{ type: 'compute', client: 'a', step: 0, micro: 0 }])
    machine.tell(sent(machine, 'a', 0, 1), sent(machine, 'a', 0, 2), done(machine, 'a', 0, 0), done(machine, 'a', 0, 0))
    expect(machine.take('compute')).toEqual([{ type: 'compute', client: 'a', step: 0, micro: 1 }])
    expect(machine.take('reply')).toHaveLength(1)
  })
})

describe('a deadline', () => {
  const settings = { localSteps: 3, stepDeadlineMs: 1000, minAvailable: 3 }

  test('of a step drops those who are late, and the step closes without them', () => {
    const machine = new Machine({ ...settings, minReplies: 2 }).join('a', 'b', 'c').step('a', 0).step('b', 0).stepDeadline(0)
    expect(machine.take('drop')).toEqual([{ type: 'drop', client: 'c', step: 0, next: 1, reason: 'step deadline' }])
    expect(machine.take('top-step')[0].clients).toEqual(['a', 'b'])
  })

  test('of a step waits until min_replies are in, and then closes at once', () => {
    const machine = new Machine({ ...settings, minReplies: 2 }).join('a', 'b', 'c').step('a', 0).stepDeadline(0)
    expect(machine.take('drop')).toEqual([])
    machine.step('c', 0)
    expect(machine.take('drop').map(({ client }) => client)).toEqual(['b'])
    expect(machine.take('top-step')[0].clients).toEqual(['a', 'c'])
  })

  test('does not count a client twice that has skipped several steps', () => {
    const machine = new Machine({ ...settings, minReplies: 2 }).join('a', 'b', 'c')
    machine.tell(skip(machine, 'a', 0), skip(machine, 'a', 1)).stepDeadline(0)
    expect(machine.take('drop')).toEqual([])
  })

  test('that is late for its step changes nothing', () => {
    const machine = new Machine({ ...settings, minReplies: 1 }).join('a', 'b', 'c')
    for (const client of ['a', 'b', 'c']) machine.step(client, 0)
    machine.stepDeadline(0)
    expect(machine.take('drop')).toEqual([])
  })

  test('takes back the part that a dropped client had sent', () => {
    const machine = new Machine({ ...settings, accumulation: 2 }).join('a', 'b', 'c').step('a', 0).step('b', 0).step('c', 0, 1)
    machine.stepDeadline(0)
    expect(machine.take('discard')).toEqual([{ type: 'discard', client: 'c', step: 0 }])
    expect(machine.take('top-step')[0].clients).toEqual(['a', 'b'])
  })

  test('missed in more than half of its steps leaves a client out of the mean', () => {
    const machine = new Machine(settings).join('a', 'b', 'c')
    for (const step of [0, 1, 2]) {
      machine.step('a', step)
      if (step === 0) machine.step('b', step)
      if (step > 0) machine.step('c', step)
      machine.stepDeadline(step)
    }
    expect(machine.take('drop').map(({ client, next }) => [client, next])).toEqual([
      ['c', 1],
      ['b', 2],
      ['b', null],
    ])
    for (const client of ['a', 'b', 'c']) machine.adapter(client)
    expect(machine.take('merge')[0]).toMatchObject({ replies: ['a', 'c'], missing: [{ client: 'b', reason: 'dropped in 2 of 3 steps' }] })
  })

  test('of a round leaves those out who have not replied, once enough have', () => {
    const machine = new Machine({ localSteps: 1, roundDeadlineMs: 5000, minReplies: 1 }).join('a', 'b')
    expect(machine.take('timer').map(({ ms }) => ms)).toEqual([5000])
    machine.step('a', 0).tell({ type: 'round-deadline', round: 1, attempt: 0 })
    expect(machine.take('merge')).toEqual([])
    machine.tell(sent(machine, 'b', 0)).adapter('a')
    expect(machine.take('merge')).toEqual([{ type: 'merge', replies: ['a'], missing: [{ client: 'b', reason: 'round deadline' }] }])
    // What was computed for the step still moves the top.
    expect(machine.take('top-step')).toEqual([{ type: 'top-step', step: 0, clients: ['a'] }])
  })

  test('of a round keeps no step waiting: a client that never answers cannot stop the others from replying', () => {
    const machine = new Machine({ localSteps: 2, roundDeadlineMs: 5000 }).join('a', 'b').step('a', 0)
    machine.tell({ type: 'round-deadline', round: 1, attempt: 0 })
    expect(machine.take('drop')).toEqual([{ type: 'drop', client: 'b', step: 0, next: 1, reason: 'round deadline' }])
    machine.step('a', 1).adapter('a')
    expect(machine.take('merge')[0].replies).toEqual(['a'])
  })

  test('of a replicated step drops each client by its own clock', () => {
    const machine = new Machine({ ...settings, top: 'replicated' }).join('a', 'b', 'c')
    expect(machine.take('timer').map(({ event }) => 'client' in event && event.client)).toEqual(['a', 'b', 'c'])
    machine.stepDeadline(0, 'a')
    expect(machine.take('drop')).toEqual([])
    machine.step('b', 0)
    expect(machine.take('drop').map(({ client }) => client)).toEqual(['a'])
    expect(machine.take('top-step')).toEqual([{ type: 'top-step', step: 0, clients: ['b'] }])
  })

  test('of an evaluation leaves those out who are late, and the run goes on', () => {
    const machine = new Machine({ roundDeadlineMs: 5000 }, { evaluate: (able) => able }).join('a', 'b')
    const [{ event, ms }] = machine.take('timer')
    expect(ms).toBe(5000)
    machine.tell({ type: 'evaluation', client: 'a', round: 0, attempt: 0 }, event)
    expect(machine.take('skip-evaluation')).toEqual([{ type: 'skip-evaluation', client: 'b', reason: 'evaluation deadline' }])
    expect(machine.take('round-over')).toHaveLength(1)
    expect(machine.state).toMatchObject({ round: 1, phase: { kind: 'training' } })
    // It is the evaluation's own, and long over.
    machine.tell(event, { type: 'evaluation', client: 'b', round: 0, attempt: 0 })
    expect(machine.take('round-over')).toEqual([])
  })

  test('of an evaluation that nobody has answered ends it all the same', () => {
    const machine = new Machine({ roundDeadlineMs: 5000, minReplies: 2 }, { evaluate: (able) => able }).join('a', 'b')
    machine.tell({ type: 'evaluation-deadline', round: 0, attempt: 0 })
    expect(machine.take('skip-evaluation').map(({ client }) => client)).toEqual(['a', 'b'])
    expect(machine.state.round).toBe(1)
  })

  test('of a step means nothing where clients make their steps alone', () => {
    const machine = new Machine({ ...settings, remoteSteps: false }).join('a', 'b', 'c')
    machine.tell(skip(machine, 'a', 0)).stepDeadline(0)
    expect(machine.take('drop')).toEqual([])
    for (const client of ['a', 'b', 'c']) machine.adapter(client)
    expect(machine.take('merge')[0].replies).toEqual(['a', 'b', 'c'])
  })
})

describe('a sequential step', () => {
  const settings = { top: 'sequential', accumulation: 2, localSteps: 1 } as const

  test('takes clients by id, each with all of its micro-batches', () => {
    const machine = new Machine(settings).join('a', 'b')
    machine.tell(sent(machine, 'b', 0))
    expect(machine.take('compute')).toEqual([])
    machine.step('a', 0)
    expect(machine.take('top-step')).toEqual([{ type: 'top-step', step: 0, clients: ['a'] }])
    expect(machine.take('compute').map(({ client, micro }) => `${client}${micro}`)).toEqual(['a0', 'a1', 'b0'])
  })

  test('takes clients by arrival of their first micro-batch', () => {
    const machine = new Machine({ ...settings, order: 'arrival', minAvailable: 3 }).join('a', 'b', 'c')
    machine.tell(sent(machine, 'c', 0), sent(machine, 'b', 0), sent(machine, 'a', 0))
    for (const client of ['c', 'b', 'a'])
      machine.tell(done(machine, client, 0, 0), sent(machine, client, 0, 1), done(machine, client, 0, 1))
    expect(machine.take('top-step').map(({ clients }) => clients)).toEqual([['c'], ['b'], ['a']])
  })

  test('passes the turn on when the client whose turn it is is lost', () => {
    const machine = new Machine(settings).join('a', 'b')
    machine.tell(sent(machine, 'b', 0)).lose('a')
    expect(machine.take('compute').map(({ client }) => client)).toEqual(['b'])
  })
})

describe('a reply', () => {
  test('counts though its client is lost after it', () => {
    const machine = new Machine({ localSteps: 1 }).join('a', 'b').step('a', 0).step('b', 0).adapter('a').lose('a').adapter('b')
    expect(machine.take('merge')).toEqual([{ type: 'merge', replies: ['a', 'b'], missing: [] }])
  })

  test('is taken once, and not before the client has made its steps', () => {
    const machine = new Machine({ localSteps: 1 }).join('a', 'b').adapter('a')
    expect(machine.take('merge')).toEqual([])
    machine.step('a', 0).step('b', 0).adapter('a').adapter('a')
    expect(machine.take('merge')).toEqual([])
    expect(isAdapterAwaited(machine.settings, machine.state, { client: 'a', round: 1, attempt: 0 })).toBe(false)
    expect(isAdapterAwaited(machine.settings, machine.state, { client: 'b', round: 1, attempt: 0 })).toBe(true)
  })

  test('that too few can still give fails the round, naming who left and why', () => {
    const { error } = new Machine({ minReplies: 2 }).join('a', 'b').lose('b').take('fail')[0]
    expect(error.code).toBe('ROUND_FAILED')
    expect(error.why).toContain('b (vanished)')
  })

  test('of a client whose place a new process took does not count', () => {
    const machine = new Machine({ localSteps: 1 }).join('a', 'b').step('a', 0).join('a').adapter('a').step('b', 0).adapter('b')
    expect(machine.take('merge')).toEqual([{ type: 'merge', replies: ['b'], missing: [{ client: 'a', reason: 'started again' }] }])
  })
})

test('nothing is awaited from a client that is out, of another round, or that was not asked', () => {
  const machine = new Machine().join('a', 'b')
  const request = place(machine, 'a', 0, 0)
  const awaited = (changes: Partial<typeof request>) => isAwaited(machine.settings, machine.state, { ...request, ...changes })
  expect(awaited({})).toBe(true)
  for (const changes of [{ client: 'z' }, { round: 2 }, { attempt: 1 }, { step: 1 }, { micro: 1 }]) expect(awaited(changes)).toBe(false)
  expect(isEvaluationAwaited(machine.state, request)).toBe(false)
  machine.lose('a')
  expect(awaited({})).toBe(false)
})
