import { describe, expect, test } from 'vitest'
import { parseConfig } from '../shared/config/parse.js'
import { FRESH } from './round-gather.js'
import { activityOf, clientStates } from './round-queries.js'
import { roundSettings } from './round-settings.js'
import type { Member, Participant, Phase, RoundState } from './round-state.js'
import { initialRounds } from './round.js'

const settings = roundSettings(parseConfig({}))
const counts = { examples: 4, tokens: 40, evalExamples: 1 }

function stateIn(phase: Phase, round = 3): RoundState {
  return { ...initialRounds(), round, phase }
}

/** @param steps by client: which of its two it works on */
function trainingWith(steps: Readonly<Record<string, number>>): RoundState {
  const participants = new Map<string, Participant>(Object.entries(steps).map(([id, step]) => [id, { ...FRESH, steps: 2, step }]))
  return stateIn({ kind: 'training', participants, step: 0, contributors: [], stepOverdue: false, roundOverdue: false, arrivals: 0 })
}

describe('what a run waits for', () => {
  test('is whoever has joined and loads its model, while clients gather', () => {
    const members = new Map<string, Member>([
      ['b', { present: true, counts: null }],
      ['a', { present: true, counts: null }],
      ['c', { present: true, counts }],
      ['d', { present: false, counts: null }],
    ])
    expect(activityOf(settings, { ...initialRounds(), members })).toEqual({ doing: 'gathering', round: 0, clients: ['a', 'b'] })
  })

  test('is nobody by name while steps are made, and the adapters once all have made theirs', () => {
    expect(activityOf(settings, trainingWith({ b: 2, a: 1 }))).toEqual({ doing: 'training', round: 3, clients: [] })
    expect(activityOf(settings, trainingWith({ b: 2, a: 2 }))).toMatchObject({
      doing: 'collecting',
      clients: ['a', 'b'],
    })
  })

  test('is whoever evaluates, in id order', () => {
    expect(activityOf(settings, stateIn({ kind: 'evaluating', waiting: ['b', 'a'] }))).toMatchObject({
      doing: 'evaluating',
      clients: ['a', 'b'],
    })
  })

  test('is nothing once it is over', () => {
    expect(activityOf(settings, stateIn({ kind: 'finished' }))).toBeNull()
    expect(activityOf(settings, stateIn({ kind: 'failed' }))).toBeNull()
  })
})

describe('clients by what they do', () => {
  const members = new Map<string, Member>([
    ['ada', { present: true, counts }],
    ['ben', { present: true, counts }],
    ['cem', { present: true, counts: null }],
    ['dot', { present: false, counts }],
  ])
  const statesIn = (state: RoundState) => clientStates({ ...state, members })

  test('in training those who work, and the others wait', () => {
    expect(statesIn(trainingWith({ ada: 0 }))).toEqual({ loading: 1, waiting: 1, training: 1, evaluating: 0, gone: 1 })
  })

  test('in an evaluation those whose sums are awaited', () => {
    expect(statesIn(stateIn({ kind: 'evaluating', waiting: ['ada', 'ben'] }))).toEqual({
      loading: 1,
      waiting: 0,
      training: 0,
      evaluating: 2,
      gone: 1,
    })
  })

  test('between rounds nobody works', () => {
    expect(statesIn(stateIn({ kind: 'merging' }))).toEqual({ loading: 1, waiting: 2, training: 0, evaluating: 0, gone: 1 })
  })
})
