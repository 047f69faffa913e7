import { describe, expect, test } from 'vitest'
import type { RoundLine } from '../../shared/run-records.js'
import { changesByEvent, changesByLook, changesByRound, changesByWork, METRICS, type Change } from './metrics.js'
import { RunMetrics } from './prometheus.js'

const load = {
  round: 2,
  doing: 'training' as const,
  clients: { loading: 0, waiting: 1, training: 3, evaluating: 0, gone: 1 },
  queueLength: 4,
  inflightBytes: 512,
}
const roundLine = (line: Partial<RoundLine>): RoundLine => ({
  ...{ round: 1, attempt: 0, train_loss: 2, eval_loss: 3, eval_perplexity: 20, eval_bits_per_byte: 1, seconds: 9, clients: [] },
  aggregation: null,
  ...line,
})
const ofMetric = (changes: readonly Change[]): Record<string, number> =>
  Object.fromEntries(changes.map(({ metric, value }) => [metric, value]))

describe('what happens in numbers', () => {
  test('a round that is over counts, with its time and losses', () => {
    expect(ofMetric(changesByRound(roundLine({})))).toEqual({
      cutlayer_rounds_total: 1,
      cutlayer_round_seconds: 9,
      cutlayer_train_loss: 2,
      cutlayer_eval_loss: 3,
    })
  })

  test('the evaluation before training has a loss and is no round; a round that was not evaluated leaves the loss as it was', () => {
    expect(ofMetric(changesByRound(roundLine({ round: 0, train_loss: null })))).toEqual({ cutlayer_eval_loss: 3 })
    expect(ofMetric(changesByRound(roundLine({ eval_loss: null })))).not.toHaveProperty('cutlayer_eval_loss')
  })

  test('a message counts by its direction and kind', () => {
    const traffic = { direction: 'up', kind: 'activations', payloadBytes: 100, wireBytes: 120 } as const
    const labels = { direction: 'up', kind: 'activations' }
    expect(changesByWork({ kind: 'message', traffic })).toEqual([
      { metric: 'cutlayer_messages_total', labels, value: 1 },
      { metric: 'cutlayer_wire_bytes_total', labels, value: 120 },
      { metric: 'cutlayer_payload_bytes_total', labels, value: 100 },
    ])
  })

  test('no label names a client', () => {
    const changes = [...changesByEvent({ event: 'join', client: 'ada', round: 1 }), ...changesByLook(load)]
    expect(JSON.stringify(changes)).not.toContain('ada')
    for (const { labels } of Object.values(METRICS)) expect(labels).not.toContain('client')
  })
})

describe('the text for Prometheus', () => {
  test('adds counters up, and shows gauges as they are when it is asked for', async () => {
    const metrics = new RunMetrics()
    for (const event of ['join', 'join', 'leave']) metrics.observer.event({ event, client: 'ada' })
    for (const seconds of [0.3, 0.03]) metrics.observer.work({ kind: 'step', seconds, tokens: 7 })
    const lines = (await metrics.text(load)).split('\n')
    for (const line of [
      '# TYPE cutlayer_step_seconds histogram',
      'cutlayer_step_seconds_bucket{le="0.025"} 0',
      'cutlayer_step_seconds_bucket{le="0.05"} 1',
      'cutlayer_step_seconds_bucket{le="0.5"} 2',
      'cutlayer_step_seconds_count 2',
      'cutlayer_scored_tokens_total 14',
      'cutlayer_events_total{event="join"} 2',
      'cutlayer_events_total{event="leave"} 1',
      'cutlayer_clients{state="training"} 3',
      'cutlayer_queue_length 4',
      'cutlayer_inflight_bytes 512',
      'cutlayer_round 2',
    ])
      expect(lines).toContain(line)
  })

  test('of a loss that was never measured has no number, and of a counter 0', async () => {
    const text = await new RunMetrics().text(null)
    expect(text).not.toMatch(/^cutlayer_eval_loss /m)
    expect(text).toMatch(/^cutlayer_steps_total 0$/m)
  })
})
