/**
 * @file A run under way, as far as its files tell: which round, who has made which steps, and who is waited for. Pure: a state, and its text.
 */
import { valueAt } from '../../shared/config/paths.js'
import { byteSize, duration, progressLine } from '../../shared/command-line/progress.js'
import type { EventLine, RoundLine, StepLine } from '../../shared/run-records.js'
import { abandonedAttempts, lastAttempts, standing, type RunReference } from '../runs.js'
import type { Glyphs } from './curve.js'
import { roundCurves } from './curves.js'
import type { News } from './follow.js'
import { ROUND_COLUMNS } from './report.js'
import { measured, table } from './table.js'

/** More are counted, not shown. */
const MOST_CLIENTS = 8
const MOST_ROUNDS = 5
const MOST_EVENTS = 2

export interface Live {
  readonly run: RunReference
  readonly config: unknown
  readonly rounds: readonly RoundLine[]
  /** Who has joined and not left. */
  readonly clients: readonly string[]
  /** By client, of the round under way: the last step that it made, from 0, and that step's loss. */
  readonly steps: ReadonlyMap<string, { readonly attempt: number; readonly step: number; readonly loss: number | null }>
  readonly events: readonly EventLine[]
  /** The highest attempt at each round that counts no more. */
  readonly abandoned: ReadonlyMap<number, number>
}

export function newLive(run: RunReference, config: unknown): Live {
  return { run, config, rounds: [], clients: [], steps: new Map(), events: [], abandoned: new Map() }
}

/** The round under way: 0 before training, and one more than there are when all are over. */
export function roundUnderWay({ rounds }: Pick<Live, 'rounds'>): number {
  return rounds.reduce((last, { round }) => Math.max(last, round), -1) + 1
}

/** The state after some news. */
export function withNews(live: Live, { events, steps, rounds }: News): Live {
  const abandoned = new Map([...live.abandoned, ...abandonedAttempts(events)])
  const all = lastAttempts(standing([...live.rounds, ...rounds], abandoned))
  const current = roundUnderWay({ rounds: all })
  const goesOn = current === roundUnderWay(live) && events.every(({ event }) => event !== 'resume')
  const made = goesOn ? new Map(live.steps) : new Map<string, { attempt: number; step: number; loss: number | null }>()
  for (const { round, attempt, client, step, loss } of standing(steps, abandoned))
    if (client !== null && round === current && attempt >= (made.get(client)?.attempt ?? 0)) made.set(client, { attempt, step, loss })
  const clients = new Set(live.clients)
  for (const { event, client } of events) {
    // Whoever was there before has to join again.
    if (event === 'resume') clients.clear()
    if (typeof client === 'string') {
      if (event === 'join') clients.add(client)
      if (event === 'leave') clients.delete(client)
    }
  }
  return {
    ...live,
    rounds: all,
    clients: [...clients].sort(),
    steps: made,
    events: [...live.events, ...events].slice(-MOST_EVENTS),
    abandoned,
  }
}

/** Who or what the round waits for. */
export function waitingFor({ config, rounds, clients, steps }: Live): string {
  const wanted = numberAt(config, 'federation.min_available_clients') ?? 1
  if (rounds.length === 0 && clients.length < wanted) return `waiting for clients to join: ${clients.length} of ${wanted}`
  if (rounds.length === 0 && steps.size === 0) return 'evaluating before training'
  if (roundUnderWay({ rounds }) > (numberAt(config, 'federation.num_rounds') ?? Infinity)) return 'ending'
  if (steps.size === 0) return 'waiting for the first step'
  const most = Math.max(...[...steps.values()].map(({ step }) => step))
  const behind = clients.filter((client) => (steps.get(client)?.step ?? -1) < most)
  if (behind.length > 0) return `waiting for ${behind.length > 2 ? `${behind.length} clients` : behind.join(', ')}`
  return most + 1 === numberAt(config, 'federation.local_steps') ? 'merging and evaluating' : `step ${most + 1}`
}

/** The run for a terminal of so many columns, the most recent first: what does not fit is cut off at the bottom. */
export function liveLines(live: Live, columns: number, glyphs: Glyphs): string[] {
  const { run, config, rounds, clients, steps, events } = live
  const total = numberAt(config, 'federation.num_rounds')
  const localSteps = numberAt(config, 'federation.local_steps') ?? 0
  const current = Math.min(roundUnderWay(live), total ?? Infinity)
  const where = current === 0 ? 'before training' : `round ${current}${total === null ? '' : ` of ${total}`}`
  const shown = [...new Set([...clients, ...steps.keys()])].sort()
  const width = Math.max(0, ...shown.slice(0, MOST_CLIENTS).map(({ length }) => length))
  const bars = shown.slice(0, MOST_CLIENTS).map((client) => {
    const made = steps.get(client)
    const state = clients.includes(client)
      ? made?.loss === undefined || made.loss === null
        ? ''
        : `loss ${made.loss.toFixed(3)}`
      : 'has left'
    return progressLine({
      label: client.padEnd(width),
      done: (made?.step ?? -1) + 1,
      total: localSteps,
      elapsedSeconds: 0,
      details: state,
      columns,
    })
  })
  if (shown.length > MOST_CLIENTS) bars.push(`and ${shown.length - MOST_CLIENTS} more clients`)
  const plain = (text: string): string => text
  const sections = [
    [`${run.name} (${run.id}): ${where}, ${waitingFor(live)}`, ...bars],
    events.map(eventText),
    rounds.length === 0 ? [] : table(ROUND_COLUMNS, rounds.slice(-MOST_ROUNDS).reverse(), plain).trimEnd().split('\n'),
    roundCurves(rounds, undefined, glyphs, plain).trimEnd().split('\n').filter(Boolean),
  ]
  return sections.filter((lines) => lines.length > 0).flatMap((lines, index) => (index === 0 ? lines : ['', ...lines]))
}

/** `leave client-1, round 2: its connection was lost`. */
export function eventText({ event, client, round, reason }: EventLine): string {
  const whose = typeof client === 'string' ? ` ${client}` : ''
  return `${event}${whose}${round === undefined ? '' : `, round ${round}`}${reason === undefined ? '' : `: ${reason}`}`
}

export function stepText({ round, step, client, loss, top_grad_norm }: StepLine): string {
  const what = client === null ? `top's gradient ${top_grad_norm?.toFixed(3) ?? '-'}` : `${client}, loss ${loss?.toFixed(4) ?? '-'}`
  return `round ${round}, step ${step}: ${what}`
}

/** As `run` tells it to scripts. */
export function roundFacts({ round, train_loss, eval_loss, eval_perplexity, seconds, clients }: RoundLine) {
  const sum = (key: 'uplink_bytes' | 'downlink_bytes'): number => clients.reduce((total, client) => total + client[key], 0)
  const [uplink_bytes, downlink_bytes] = [sum('uplink_bytes'), sum('downlink_bytes')]
  return { round, train_loss, eval_loss, eval_perplexity, uplink_bytes, downlink_bytes, seconds }
}

export function roundText(line: RoundLine): string {
  const { round, train_loss, eval_perplexity, uplink_bytes, downlink_bytes, seconds } = roundFacts(line)
  const loss = `train loss ${measured(train_loss, 4)}, perplexity ${measured(eval_perplexity, 2)}`
  return `round ${round}: ${loss}, up ${byteSize(uplink_bytes)}, down ${byteSize(downlink_bytes)}, ${duration(seconds)}`
}

function numberAt(config: unknown, key: string): number | null {
  const value = valueAt(config, key)
  return typeof value === 'number' ? value : null
}
