/**
 * @file A run in numbers, for Prometheus: which metrics there are, and what each thing that happens changes in them. No clock, network or library.
 *
 * No label names a client: whoever reads the numbers learns how many there are and not who, and a thousand of them make no more lines than one.
 */
import type { RoundLine, RunEvent } from '../../shared/run-records.js'
import type { ServerLoad } from '../edge-server.js'
import type { Work } from '../observer.js'

export interface Metric {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  /** Of a histogram: upper bounds. */
  readonly buckets?: readonly number[]
}

/** From a narrow model on a fast machine to a wide one on a slow one. */
const STEP_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
const ROUND_SECONDS = [1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600]

export const METRICS = {
  cutlayer_round: { type: 'gauge', help: 'The current round; 0 before training.', labels: [] },
  cutlayer_rounds_total: { type: 'counter', help: 'Rounds that are over.', labels: [] },
  cutlayer_round_seconds: { type: 'histogram', help: 'What a round took.', labels: [], buckets: ROUND_SECONDS },
  cutlayer_steps_total: { type: 'counter', help: 'Local steps that clients made.', labels: [] },
  cutlayer_step_seconds: {
    type: 'histogram',
    help: "A client's local step as the server sees it: from its last one, or the round's start, to this one.",
    labels: [],
    buckets: STEP_SECONDS,
  },
  cutlayer_scored_tokens_total: { type: 'counter', help: 'Scored tokens of those steps.', labels: [] },
  cutlayer_compute_seconds: {
    type: 'histogram',
    help: "What the server's blocks took for a micro-batch.",
    labels: ['purpose'],
    buckets: STEP_SECONDS,
  },
  cutlayer_queue_seconds: {
    type: 'histogram',
    help: "How long a micro-batch waited for the server's blocks.",
    labels: ['purpose'],
    buckets: STEP_SECONDS,
  },
  cutlayer_queue_length: { type: 'gauge', help: "Micro-batches that wait for the server's blocks.", labels: [] },
  cutlayer_inflight_bytes: {
    type: 'gauge',
    help: 'Activations that were granted and are not computed; transport.max_inflight_bytes bounds them. 0 where clients need not ask.',
    labels: [],
  },
  cutlayer_train_loss: { type: 'gauge', help: 'Of the last round, nats per scored token.', labels: [] },
  cutlayer_eval_loss: { type: 'gauge', help: 'Of the last evaluation, nats per scored token of held-out rows.', labels: [] },
  cutlayer_clients: { type: 'gauge', help: 'Clients that have joined, by what they do.', labels: ['state'] },
  cutlayer_events_total: { type: 'counter', help: 'What happened, by its name in events.jsonl.', labels: ['event'] },
  cutlayer_messages_total: { type: 'counter', help: 'Messages that crossed the network.', labels: ['direction', 'kind'] },
  cutlayer_wire_bytes_total: {
    type: 'counter',
    help: 'Their bytes as WebSocket frames; up is from clients to the server.',
    labels: ['direction', 'kind'],
  },
  cutlayer_payload_bytes_total: { type: 'counter', help: 'Bytes of the tensors, ids and masks in them.', labels: ['direction', 'kind'] },
} as const satisfies Readonly<Record<string, Metric>>

export type MetricName = keyof typeof METRICS

/** A counter grows by the value, a gauge becomes it, a histogram takes it in. */
export interface Change {
  readonly metric: MetricName
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export function changesByEvent({ event }: RunEvent): Change[] {
  return [change('cutlayer_events_total', 1, { event })]
}

/** The evaluation before training, round 0, is no round that is over. */
export function changesByRound({ round, seconds, train_loss, eval_loss }: RoundLine): Change[] {
  return [
    ...(round === 0 ? [] : [change('cutlayer_rounds_total', 1), change('cutlayer_round_seconds', seconds)]),
    ...(train_loss === null ? [] : [change('cutlayer_train_loss', train_loss)]),
    ...(eval_loss === null ? [] : [change('cutlayer_eval_loss', eval_loss)]),
  ]
}

export function changesByWork(work: Work): Change[] {
  switch (work.kind) {
    case 'message': {
      const { direction, kind, wireBytes, payloadBytes } = work.traffic
      return [
        change('cutlayer_messages_total', 1, { direction, kind }),
        change('cutlayer_wire_bytes_total', wireBytes, { direction, kind }),
        change('cutlayer_payload_bytes_total', payloadBytes, { direction, kind }),
      ]
    }
    case 'step':
      return [
        change('cutlayer_steps_total', 1),
        change('cutlayer_step_seconds', work.seconds),
        change('cutlayer_scored_tokens_total', work.tokens),
      ]
    case 'micro-batch': {
      const { purpose } = work
      return [
        change('cutlayer_queue_seconds', work.queuedSeconds, { purpose }),
        change('cutlayer_compute_seconds', work.computeSeconds, { purpose }),
      ]
    }
  }
}

/** What is looked up when somebody asks. */
export function changesByLook({ round, clients, queueLength, inflightBytes }: ServerLoad): Change[] {
  return [
    change('cutlayer_round', round),
    change('cutlayer_queue_length', queueLength),
    change('cutlayer_inflight_bytes', inflightBytes),
    ...Object.entries(clients).map(([state, count]) => change('cutlayer_clients', count, { state })),
  ]
}

function change(metric: MetricName, value: number, labels: Change['labels'] = {}): Change {
  return { metric, labels, value }
}
