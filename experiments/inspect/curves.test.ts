import { describe, expect, test } from 'vitest'
import type { RoundLine, StepLine } from '../../shared/run-records.js'
import { roundCurves, stepCurves } from './curves.js'

const plain = (text: string): string => text

function client(id: string, trainLoss: number | null, bytes: number): RoundLine['clients'][number] {
  const seconds = { compute: 1, wait: 1, network: 1 }
  const counts = { examples: 1, tokens: 1, steps: 1 }
  return { id, ...counts, train_loss: trainLoss, eval_loss: null, seconds, uplink_bytes: bytes, downlink_bytes: bytes }
}

function round(number: number, trainLoss: number | null, clients: RoundLine['clients']): RoundLine {
  const none = { eval_loss: null, eval_perplexity: null, eval_bits_per_byte: null }
  return { round: number, attempt: 0, train_loss: trainLoss, ...none, seconds: 1, clients, aggregation: null }
}

function step(number: number, id: string | null, loss: number | null): StepLine {
  return { round: 1, attempt: 0, step: number, client: id, loss, tokens: 5, lr: 0.1, grad_norm: 1, top_grad_norm: null }
}

const ROUNDS = [
  round(0, null, [client('a', null, 100), client('b', null, 100)]),
  round(1, 4, [client('a', 5, 1000), client('b', 3, 1000)]),
  round(2, null, [client('a', null, 1000)]),
  round(3, 2, [client('a', 1, 1000), client('b', 3, 1000)]),
]

describe('the curves of a run', () => {
  test('are those of all clients, with gaps for rounds without a loss', () => {
    expect(roundCurves(ROUNDS, undefined, 'ascii', plain)).toBe(
      [
        '            rounds 0 to 3   first    last  lowest  highest',
        'train loss   # _           4.0000  2.0000  2.0000   4.0000',
        'bytes       _#-#            400 B  4.0 kB   400 B   4.0 kB\n',
      ].join('\n'),
    )
  })

  test('are those of one client, with gaps for rounds that it had no part in', () => {
    expect(roundCurves(ROUNDS, 'b', 'unicode', plain)).toBe(
      [
        '            client b, rounds 0 to 3   first    last  lowest  highest',
        'train loss   ▅ ▅                     3.0000  3.0000  3.0000   3.0000',
        'bytes       ▁█ █                      200 B  2.0 kB   200 B   2.0 kB\n',
      ].join('\n'),
    )
  })

  test('are left out where nothing was measured twice', () => {
    expect(roundCurves([], undefined, 'ascii', plain)).toBe('')
    expect(roundCurves(ROUNDS.slice(1, 2), undefined, 'ascii', plain)).toBe('')
  })
})

describe('the curves of a round', () => {
  test("are each client's losses by step; the joint top's own steps have none", () => {
    const steps = [step(0, 'b', 4), step(0, 'a', 3), step(0, null, null), step(1, 'a', null), step(2, 'a', 1), step(2, 'b', 2)]
    expect(stepCurves(steps, 'ascii', plain)).toBe(
      [
        '   loss, steps 0 to 2   first    last  lowest  highest',
        'a  # _                 3.0000  1.0000  1.0000   3.0000',
        'b  # _                 4.0000  2.0000  2.0000   4.0000\n',
      ].join('\n'),
    )
  })

  test('are left out where nobody made two steps', () => {
    expect(stepCurves([step(0, 'a', 3), step(0, 'b', 3)], 'ascii', plain)).toBe('')
  })
})
