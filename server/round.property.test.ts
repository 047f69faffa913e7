import fc from 'fast-check'
import { expect, test } from 'vitest'
import { weightsOf } from './aggregation.js'
import { compareCodeUnits } from '../shared/compare.js'
import { missingClients, readyClients } from './round-queries.js'
import type { ClientId, Member, RoundEffect, RoundSettings, RoundState } from './round-state.js'
import { resumedRounds } from './round.js'
import { SimulatedRun, Tape, type Watcher } from './testing/simulated-run.js'

/** Holds a run to the rules of design: what may follow what, whatever happens. */
class Rules implements Watcher {
  private selected = new Map<ClientId, number>()
  private readonly replied = new Set<ClientId>()
  private readonly drops = new Map<ClientId, number>()
  private readonly computes = new Set<string>()
  /** Clients whose steps are computed whole, by step, until the top has moved with them. */
  private readonly complete = new Map<number, Set<ClientId>>()
  private readonly givenUp = new Set<string>()
  private readonly gone = new Set<ClientId>()
  private readonly steps = new Set<string>()
  private turn: { client: ClientId; step: number } | null = null
  private lastTurn: { client: ClientId; step: number } | null = null
  private isOver = false
  private isRestarted = false
  merges = 0
  restarts = 0
  rounds = 0

  constructor(
    private readonly settings: RoundSettings,
    private readonly counts: ReadonlyMap<ClientId, NonNullable<Member['counts']>>,
  ) {}

  event: Watcher['event'] = (event, before) => {
    if (event.type === 'lost' || event.type === 'joined') {
      if (before.phase.kind === 'training' && before.phase.participants.get(event.client)?.state === 'working') this.gone.add(event.client)
    }
    const isCurrent = 'round' in event && 'attempt' in event && event.round === before.round && event.attempt === before.attempt
    if (event.type === 'adapter' && isCurrent) this.replied.add(event.client)
  }

  effect(effect: RoundEffect, state: RoundState): void {
    expect(this.isOver, `${effect.type} after the end`).toBe(false)
    switch (effect.type) {
      case 'start-round':
        return this.start(effect)
      case 'restart-round':
        expect(this.settings.onClientLoss).toBe('restart_round')
        expect(effect.attempt).toBe(state.attempt)
        expect(effect.client === null || this.gone.has(effect.client), 'starts again for one that is not in it').toBe(true)
        this.isRestarted = true
        this.restarts++
        return
      case 'compute':
        return this.compute(effect)
      case 'reply':
        expect(this.computes).toContain(`${effect.client}/${effect.step}/${effect.micro}`)
        expect(this.givenUp, 'an answer for a step that was given up').not.toContain(`${effect.client}/${effect.step}`)
        if (effect.micro + 1 < this.settings.accumulation) return
        this.complete.set(effect.step, (this.complete.get(effect.step) ?? new Set()).add(effect.client))
        return
      case 'discard':
      case 'drop':
        expect(this.complete.get(effect.step) ?? new Set(), 'gives up a step that is computed').not.toContain(effect.client)
        this.givenUp.add(`${effect.client}/${effect.step}`)
        if (this.turn?.client === effect.client) this.turn = null
        if (effect.type === 'drop') this.drops.set(effect.client, (this.drops.get(effect.client) ?? 0) + 1)
        return
      case 'top-step':
        return this.topStep(effect)
      case 'merge':
        return this.merge(effect)
      case 'round-over':
        expect(state.round).toBe(this.rounds)
        this.rounds++
        return
      case 'evaluate':
        for (const client of effect.clients) expect(readyClients(state)).toContain(client)
        if (effect.again) expect(this.settings.onClientLoss).toBe('restart_round')
        return
      case 'finish':
        expect(state.round).toBe(this.settings.rounds)
        this.isOver = true
        return
      case 'fail':
        expect(['ROUND_FAILED', 'NOT_ENOUGH_CLIENTS', 'CLIENT_LOST']).toContain(effect.error.code)
        if (effect.error.code === 'CLIENT_LOST') expect(this.settings.onClientLoss).toBe('restart_round')
        this.isOver = true
        return
      case 'timer':
      case 'skip-evaluation':
        return
    }
  }

  private start({ clients }: Extract<RoundEffect, { type: 'start-round' }>): void {
    expect(this.merges, 'the last round was merged').toBe(this.rounds - 1)
    expect(clients.length).toBeGreaterThanOrEqual(this.settings.minReplies)
    if (this.isRestarted) expect(clients.map(({ client, steps }) => [client, steps])).toEqual([...this.selected])
    this.isRestarted = false
    this.selected = new Map(clients.map(({ client, steps }) => [client, steps]))
    for (const set of [this.replied, this.drops, this.computes, this.complete, this.givenUp, this.gone, this.steps]) set.clear()
    this.turn = this.lastTurn = null
  }

  private compute({ client, step, micro }: Extract<RoundEffect, { type: 'compute' }>): void {
    const key = `${client}/${step}/${micro}`
    expect(this.computes, 'a micro-batch computed twice').not.toContain(key)
    expect(micro, 'micro-batches in order').toBe([...this.computes].filter((other) => other.startsWith(`${client}/${step}/`)).length)
    expect(micro).toBeLessThan(this.settings.accumulation)
    expect(step).toBeLessThan(this.selected.get(client)!)
    expect(this.gone, 'work for a client that is out').not.toContain(client)
    this.computes.add(key)
    if (this.settings.top === 'joint')
      for (const [earlier, clients] of this.complete)
        expect(earlier < step && clients.size > 0, `step ${step} meets the top before its step ${earlier}`).toBe(false)
    if (this.settings.top !== 'sequential') return
    if (this.turn) expect(this.turn, 'another client in the middle of a step').toEqual({ client, step })
    else {
      if (this.settings.order === 'id' && this.lastTurn?.step === step) expect(compareCodeUnits(this.lastTurn.client, client)).toBe(-1)
      expect(step).toBeGreaterThanOrEqual(this.lastTurn?.step ?? 0)
      this.turn = this.lastTurn = { client, step }
    }
  }

  private topStep({ step, clients }: Extract<RoundEffect, { type: 'top-step' }>): void {
    const complete = this.complete.get(step) ?? new Set()
    for (const client of clients) {
      expect(complete, 'a step of the top with one who has not computed all').toContain(client)
      expect(this.givenUp).not.toContain(`${client}/${step}`)
    }
    const key = this.settings.top === 'joint' ? `${step}` : `${step}/${clients[0]}`
    expect(this.steps, 'a second step of the top').not.toContain(key)
    this.steps.add(key)
    if (this.settings.top === 'joint') {
      expect(clients).toEqual([...complete].sort(compareCodeUnits))
      complete.clear()
    } else {
      expect(clients).toHaveLength(1)
      complete.delete(clients[0])
      this.turn = this.settings.top === 'sequential' ? null : this.turn
    }
  }

  private merge({ replies, missing }: Extract<RoundEffect, { type: 'merge' }>): void {
    this.merges++
    expect(replies).toEqual([...new Set(replies)].sort(compareCodeUnits))
    expect([...replies, ...missing.map(({ client }) => client)].sort(compareCodeUnits)).toEqual(
      [...this.selected.keys()].sort(compareCodeUnits),
    )
    expect(replies.length).toBeGreaterThanOrEqual(this.settings.minReplies)
    for (const client of replies) {
      expect(this.replied, 'in the mean without an adapter').toContain(client)
      expect(this.drops.get(client) ?? 0).toBeLessThanOrEqual(this.selected.get(client)! / 2)
    }
    for (const clients of this.complete.values()) expect(clients.size, 'what was given to the top and never used').toBe(0)
    for (const by of ['examples', 'tokens', 'uniform'] as const) {
      const weights = weightsOf(
        replies.map((client) => this.counts.get(client)!),
        by,
      )
      expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
    }
  }
}

const scenario = fc
  .record({
    clients: fc.integer({ min: 1, max: 5 }),
    top: fc.constantFrom('joint' as const, 'sequential' as const, 'replicated' as const),
    order: fc.constantFrom('id' as const, 'arrival' as const),
    accumulation: fc.integer({ min: 1, max: 3 }),
    rounds: fc.integer({ min: 1, max: 3 }),
    localSteps: fc.option(fc.integer({ min: 1, max: 4 })),
    examples: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 5, maxLength: 5 }),
    remoteSteps: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
    leastShare: fc.double({ min: 0, max: 1, noNaN: true }),
    onClientLoss: fc.constantFrom('continue' as const, 'restart_round' as const),
    selectedShare: fc.double({ min: 0.3, max: 1, noNaN: true }),
    evaluateEvery: fc.integer({ min: 1, max: 2 }),
    deadlines: fc.boolean(),
    skipEvery: fc.constantFrom(0, 2, 3, 5),
    tape: fc.array(fc.nat(9999), { minLength: 20, maxLength: 300 }),
  })
  .map(({ clients, ...given }) => {
    const ids = Array.from({ length: clients }, (_, i) => `c${i}`)
    const least = 1 + Math.floor(given.leastShare * (clients - 1))
    const settings: RoundSettings = {
      rounds: given.rounds,
      remoteSteps: given.remoteSteps,
      top: given.top,
      order: given.order,
      accumulation: given.accumulation,
      localSteps: given.localSteps,
      localEpochs: given.localSteps === null ? 1 : null,
      rowsPerStep: 2,
      minAvailable: clients,
      minTrain: 1,
      minReplies: least,
      evaluateEvery: given.evaluateEvery,
      stepDeadlineMs: given.deadlines ? 1000 : null,
      roundDeadlineMs: given.deadlines ? 5000 : null,
      gatherMs: 1000,
      onClientLoss: given.onClientLoss,
    }
    const counts = new Map(ids.map((id, i) => [id, { examples: given.examples[i], tokens: given.examples[i] * 3, evalExamples: i % 3 }]))
    const take = (share: number) => (ready: readonly ClientId[], round: number) => {
      const count = Math.max(least, Math.floor(share * ready.length))
      return ready.map((_, i) => ready[(i + round) % ready.length]).slice(0, count)
    }
    const selection = { train: take(given.selectedShare), evaluate: take(1) }
    const skips = (client: ClientId, round: number, step: number): boolean =>
      given.skipEvery > 0 && (Number(client.slice(1)) + round * 7 + step * 3) % given.skipEvery === 0
    return { settings, counts, selection, skips, tape: given.tape }
  })

test('whatever happens, every round ends by the rules: finished, failed by name, or waiting for clients that are not there', () => {
  const ends = new Map<string, number>()
  fc.assert(
    fc.property(scenario, ({ settings, counts, selection, skips, tape }) => {
      const rules = new Rules(settings, counts)
      const run = new SimulatedRun({ settings, counts, selection, skips, tape: new Tape(tape), watcher: rules })
      run.run()
      const least = Math.max(settings.minTrain, settings.minReplies)
      const { phase } = run.state
      if (phase.kind === 'gathering' || (phase.kind === 'evaluating' && settings.onClientLoss === 'restart_round')) {
        if (missingClients(run.state, phase).length === 0)
          expect(readyClients(run.state).length).toBeLessThan(run.state.started ? least : settings.minAvailable)
      } else expect(['finished', 'failed']).toContain(phase.kind)
      run.exhaustTimers()
      expect(run.state.started ? ['finished', 'failed'] : ['gathering']).toContain(run.state.phase.kind)
      expect(run.state.round).toBeLessThanOrEqual(settings.rounds)
      if (run.state.phase.kind === 'finished') expect(rules.merges).toBe(settings.rounds)
      ends.set(run.state.phase.kind, (ends.get(run.state.phase.kind) ?? 0) + 1)
    }),
    { numRuns: 500 },
  )
  // The scenarios are worth something only if runs end in different ways.
  expect(ends.get('finished')).toBeGreaterThan(50)
  expect(ends.get('failed')).toBeGreaterThan(10)
})

test('without accidents every run finishes, and each round has all its clients in the mean', () => {
  fc.assert(
    fc.property(scenario, ({ settings, counts, selection, skips, tape }) => {
      const rules = new Rules(settings, counts)
      const calm = tape.map((number) => number | 1) // never 0 below 8, so no accident happens
      new SimulatedRun({ settings, counts, selection, skips, tape: new Tape(calm), watcher: rules }).run()
      expect(rules.merges).toBe(settings.rounds)
      expect(rules.rounds).toBe(settings.rounds + 1)
    }),
    { numRuns: 100 },
  )
})

/** What moves the top and goes into the mean, of the attempt at each round that ended it. */
class Outcome implements Watcher {
  readonly rounds: unknown[] = []
  private current: RoundEffect[] = []

  constructor(private readonly settings: RoundSettings) {}

  event(): void {}

  effect(effect: RoundEffect): void {
    if (effect.type === 'start-round') this.current = [effect]
    else if (effect.type === 'top-step') this.current.push(effect)
    else if (effect.type === 'merge') this.rounds.push([...this.inOrder(), effect])
  }

  /** Replicas do not wait for each other, so it does not matter which comes first. */
  private inOrder(): readonly RoundEffect[] {
    const key = (effect: RoundEffect): string => (effect.type === 'top-step' ? `${effect.step}/${effect.clients[0]}` : '')
    return this.settings.top === 'replicated' ? [...this.current].sort((x, y) => compareCodeUnits(key(x), key(y))) : this.current
  }
}

test('with restart_round, whoever is lost and comes back, the rounds are made of what an undisturbed run makes them of', () => {
  const restarts = new Map<boolean, number>()
  fc.assert(
    fc.property(scenario, ({ settings: given, counts, selection, skips, tape }) => {
      const timeless = { onClientLoss: 'restart_round', order: 'id', stepDeadlineMs: null, roundDeadlineMs: null, gatherMs: 1000 } as const
      const settings: RoundSettings = { ...given, ...timeless }
      const run = (numbers: readonly number[]): { outcome: Outcome; rules: Rules; end: RoundState } => {
        const [outcome, rules] = [new Outcome(settings), new Rules(settings, counts)]
        const watcher: Watcher = {
          event: (event, before) => rules.event(event, before),
          effect(effect, state) {
            rules.effect(effect, state)
            outcome.effect(effect)
          },
        }
        // Nobody stays away for too long: no timer fires, as none of the others does.
        const simulated = new SimulatedRun({ settings, counts, selection, skips, tape: new Tape(numbers), watcher, comesBack: true })
        simulated.withoutTimers = true
        simulated.run()
        return { outcome, rules, end: simulated.state }
      }
      const disturbed = run(tape)
      restarts.set(disturbed.rules.restarts > 0, (restarts.get(disturbed.rules.restarts > 0) ?? 0) + 1)
      if (disturbed.end.phase.kind === 'failed') expect(disturbed.end.restarts).toBe(20)
      else expect(disturbed.outcome.rounds).toEqual(run(tape.map((number) => number | 1)).outcome.rounds)
    }),
    { numRuns: 300 },
  )
  expect(restarts.get(true)).toBeGreaterThan(20)
  expect(restarts.get(false)).toBeGreaterThan(10)
})

test('a run that goes on in the middle starts with all who were there; without restart_round also with enough of them, once it has waited', () => {
  const starts = new Map<string, number>()
  fc.assert(
    fc.property(scenario, fc.nat(7), fc.nat(4), ({ settings, counts, selection, skips }, attempt, absent) => {
      const all = [...counts.keys()]
      const there = all.slice(Math.min(absent, all.length - 1))
      const least = Math.max(settings.minTrain, settings.minReplies)
      const started: RoundEffect[] = []
      const watcher: Watcher = {
        event() {},
        effect(effect, state) {
          if (effect.type !== 'start-round' || started.push(effect) > 1) return
          expect([state.round, state.attempt]).toEqual([settings.rounds, attempt])
          expect(state.localSteps).toBe(7)
        },
      }
      const initial = resumedRounds({ round: settings.rounds, attempt, localSteps: 7, awaited: all })
      const present = new Map([...counts].filter(([client]) => there.includes(client)))
      const mine = { ...settings, minAvailable: least }
      const run = new SimulatedRun({ settings: mine, counts: present, selection, skips, tape: new Tape([]), watcher, initial })
      run.run()
      const areAllThere = there.length === all.length
      expect(started.length > 0, 'before any time has passed').toBe(areAllThere)
      run.exhaustTimers()
      const goesOn = areAllThere || (settings.onClientLoss === 'continue' && there.length >= least)
      expect(started.length > 0).toBe(goesOn)
      expect(run.state.phase.kind).toBe(goesOn ? 'finished' : 'gathering')
      const kind = `${settings.onClientLoss}, ${areAllThere ? 'all' : goesOn ? 'enough' : 'too few'}`
      starts.set(kind, (starts.get(kind) ?? 0) + 1)
    }),
    { numRuns: 1000 },
  )
  for (const kind of ['continue, all', 'continue, enough', 'continue, too few', 'restart_round, all', 'restart_round, too few'])
    expect(starts.get(kind), kind).toBeGreaterThan(0)
})

test('a run that is asked to stop makes the step under way, and begins nothing more', () => {
  const ends = new Map<string, number>()
  fc.assert(
    fc.property(scenario, fc.nat(120), fc.boolean(), ({ settings, counts, selection, skips, tape }, stopAfter, isCalm) => {
      let asked: RoundState | null = null
      const after: RoundEffect[] = []
      const watcher: Watcher = {
        event(event, before) {
          if (event.type === 'stop') asked = before
        },
        effect(effect) {
          if (asked) after.push(effect)
        },
      }
      const numbers = isCalm ? tape.map((number) => number | 1) : tape
      const run = new SimulatedRun({ settings, counts, selection, skips, tape: new Tape(numbers), watcher, stopAfter })
      run.run()
      run.exhaustTimers()
      if (asked === null) return
      const { phase } = asked as RoundState
      if (phase.kind === 'finished' || phase.kind === 'failed') {
        expect(after).toEqual([])
        return
      }
      expect(run.state.phase.kind).toBe('finished')
      const types = after.map(({ type }) => type)
      expect(types.filter((type) => type === 'finish')).toHaveLength(1)
      expect(types.at(-1)).toBe('finish')
      for (const begun of ['start-round', 'evaluate', 'fail'] as const) expect(types).not.toContain(begun)
      // Every merged round has its line.
      const merges =
        types.filter((type) => type === 'merge').length +
        Number(
          phase.kind === 'merging' ||
            ((phase.kind === 'evaluating' || (phase.kind === 'gathering' && phase.purpose === 'evaluate')) && run.state.round > 0),
        )
      expect(types.filter((type) => type === 'round-over')).toHaveLength(merges)
      ends.set(`${phase.kind}, ${merges} merged`, (ends.get(`${phase.kind}, ${merges} merged`) ?? 0) + 1)
      if (phase.kind !== 'training' || !settings.remoteSteps || !isCalm) return
      // All who were in a step have its gradients, and the top has moved with them.
      for (const [client, { step, steps, received }] of phase.participants) {
        if (received === 0 || step >= steps || (settings.top !== 'replicated' && step > phase.step)) continue
        expect(after).toContainEqual({ type: 'reply', client, step, micro: settings.accumulation - 1 })
        expect(after).toContainEqual(
          expect.objectContaining({ type: 'top-step', step, clients: expect.arrayContaining([client]) as string[] }),
        )
      }
      if (settings.top !== 'joint' || merges > 0) return
      for (const effect of after) if (effect.type === 'top-step') expect(effect.step).toBe(phase.step)
    }),
    { numRuns: 500 },
  )
  for (const end of ['training, 0 merged', 'training, 1 merged', 'evaluating, 1 merged', 'merging, 1 merged', 'gathering, 0 merged'])
    expect(ends.get(end), end).toBeGreaterThan(0)
})
