import { describe, expect, test } from 'vitest'
import type { EventLine, RoundLine, StepLine } from '../../shared/run-records.js'
import type { News } from './follow.js'
import { type Live, liveLines, newLive, roundUnderWay, waitingFor, withNews } from './live.js'

const RUN = { folder: 'runs/a', name: 'exp', id: 'aaaa', stamp: '' }
const CONFIG = { federation: { num_rounds: 2, local_steps: 4, min_available_clients: 2 } }
const TIME = '2026-01-01T00:00:00.000Z'

const event = (name: string, client: string): EventLine => ({ time: TIME, event: name, client })
const step = (round: number, number: number, client: string | null, attempt = 0): StepLine => ({
  ...{ round, attempt, step: number, client, loss: 2.5, tokens: 5, lr: 0.1, grad_norm: 1, top_grad_norm: null },
})
const round = (number: number, attempt = 0): RoundLine => ({
  ...{ round: number, attempt, train_loss: 3 - number, eval_loss: 3 - number, eval_perplexity: 9, eval_bits_per_byte: null, seconds: 1 },
  clients: [],
  aggregation: null,
})

/** The state after these, one look after the other. */
function after(...looks: readonly Partial<News>[]): Live {
  return looks.reduce<Live>((live, news) => withNews(live, { events: [], steps: [], rounds: [], ...news }), newLive(RUN, CONFIG))
}

const joined = { events: [event('join', 'a'), event('join', 'b')] }

describe('a run under way waits for', () => {
  test.each<[string, readonly Partial<News>[], string]>([
    ['clients, at first', [{ events: [event('join', 'a')] }], 'waiting for clients to join: 1 of 2'],
    ['the evaluation before training', [joined], 'evaluating before training'],
    ['the first step of a round', [joined, { rounds: [round(0)] }], 'waiting for the first step'],
    [
      'who has made fewer steps',
      [joined, { rounds: [round(0)], steps: [step(1, 0, 'a'), step(1, 0, 'b'), step(1, 1, 'a')] }],
      'waiting for b',
    ],
    ['nobody, where all are level', [joined, { rounds: [round(0)], steps: [step(1, 0, 'a'), step(1, 0, 'b')] }], 'step 1'],
    ['nobody who has left', [joined, { rounds: [round(0)], steps: [step(1, 1, 'a')] }, { events: [event('leave', 'b')] }], 'step 2'],
    [
      'the rest of a round when all steps are made',
      [joined, { rounds: [round(0)], steps: [step(1, 3, 'a'), step(1, 3, 'b')] }],
      'merging and evaluating',
    ],
    ['its end when all rounds are over', [joined, { rounds: [round(0), round(1), round(2)] }], 'ending'],
  ])('%s', (_, looks, expected) => {
    expect(waitingFor(after(...looks))).toBe(expected)
  })
})

describe('the state of a run', () => {
  test('goes back to where a run goes on that was interrupted: rounds given up are none, and clients join again', () => {
    const resume: EventLine = {
      time: TIME,
      event: 'resume',
      round: 1,
      attempt: 1,
      abandoned: [
        { round: 1, attempt: 0 },
        { round: 2, attempt: 0 },
      ],
    }
    const live = after(joined, { rounds: [round(0), round(1)], steps: [step(1, 3, 'a'), step(2, 2, 'a')] }, { events: [resume] })
    expect(roundUnderWay(live)).toBe(1)
    expect(live.clients).toEqual([])
    expect([...live.steps]).toEqual([])
    const again = withNews(live, { events: [event('join', 'a')], steps: [step(1, 0, 'a', 1)], rounds: [] })
    expect([...again.steps]).toEqual([['a', { attempt: 1, step: 0, loss: 2.5 }]])
    expect(roundUnderWay(withNews(again, { events: [], steps: [], rounds: [round(1, 1)] }))).toBe(2)
  })

  test("forgets a round's steps when it is over, and takes those of the next", () => {
    const live = after(
      joined,
      { rounds: [round(0)], steps: [step(1, 3, 'a')] },
      { steps: [step(1, 3, 'b'), step(2, 0, 'b')], rounds: [round(1)] },
    )
    expect(roundUnderWay(live)).toBe(2)
    expect([...live.steps]).toEqual([['b', { attempt: 0, step: 0, loss: 2.5 }]])
  })

  test('holds the last attempt', () => {
    const live = after(joined, { rounds: [round(0)], steps: [step(1, 3, 'a')] }, { steps: [step(1, 0, 'a', 1), step(1, 3, 'a', 0)] })
    expect(live.steps.get('a')).toEqual({ attempt: 1, step: 0, loss: 2.5 })
  })
})

describe('the text of a run under way', () => {
  const live = after(joined, { rounds: [round(0), round(1)], steps: [step(2, 0, 'a'), step(2, 0, 'b'), step(2, 1, 'a'), step(2, 1, null)] })

  test('tells round, clients, what happened last, rounds and curves', () => {
    expect(liveLines(live, 79, 'ascii').join('\n')).toBe(`exp (aaaa): round 2 of 2, waiting for b
a  [############------------]  2/4  loss 2.500
b  [######------------------]  1/4  loss 2.500

join a
join b

round  train loss  eval loss  perplexity  time   up  down  replies  missing
    1      2.0000     2.0000        9.00   1 s  0 B   0 B        -
    0      3.0000     3.0000        9.00   1 s  0 B   0 B        -

            rounds 0 to 1   first    last  lowest  highest
train loss  #_             3.0000  2.0000  2.0000   3.0000
eval loss   #_             3.0000  2.0000  2.0000   3.0000`)
  })

  test('keeps the bars within a narrow terminal', () => {
    for (const line of liveLines(live, 24, 'ascii').slice(1, 3)) expect(line.length).toBeLessThanOrEqual(24)
  })
})
