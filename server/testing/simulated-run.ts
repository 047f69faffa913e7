/**
 * @file A run around the round machine without sockets, engine or time: honest clients whose messages are delivered in any order
 * between clients, and accidents in between. A watcher sees every event and effect.
 */
import type { ClientId, Member, RoundEffect, RoundEvent, RoundSettings, RoundState, Selection } from '../round-state.js'
import { Inflight, type InflightLimits, type OfferedBatch } from '../inflight.js'
import { isAwaited, turnsOf } from '../round-queries.js'
import { advanceRounds, initialRounds } from '../round.js'

/** Random numbers that end: after the last one all is 0, and no more accidents happen. */
export class Tape {
  private at = 0

  constructor(private readonly numbers: readonly number[]) {}

  get isOver(): boolean {
    return this.at >= this.numbers.length
  }

  /** 0 to count - 1. */
  below(count: number): number {
    return (this.numbers[this.at++] ?? 0) % count
  }
}

export interface Watcher {
  event(event: RoundEvent, before: RoundState): void
  effect(effect: RoundEffect, state: RoundState): void
}

export interface SimulationOptions {
  readonly settings: RoundSettings
  readonly selection: Selection
  readonly counts: ReadonlyMap<ClientId, NonNullable<Member['counts']>>
  /** Whether the client has nothing to score in that step. */
  skips(client: ClientId, round: number, step: number): boolean
  readonly tape: Tape
  readonly watcher: Watcher
  /** Where clients offer their micro-batches before they send them: for how much there is room, and how large each is. */
  readonly inflight?: InflightLimits & { tokensOf(client: ClientId, round: number, step: number, micro: number): number }
  /** After how many moves the run is asked to stop; never, unless given. */
  readonly stopAfter?: number
  /** What the run begins as; a new one, unless given. */
  readonly initial?: RoundState
  /** Whether clients that left join again some time. */
  readonly comesBack?: boolean
}

type ToClient =
  | Extract<RoundEffect, { type: 'reply' | 'drop' }>
  | { readonly type: 'start'; readonly steps: number }
  | { readonly type: 'evaluate' }
  | { readonly type: 'grant'; readonly batch: OfferedBatch }

type MicroPlace = Pick<OfferedBatch, 'round' | 'attempt' | 'step' | 'micro'> & { readonly client: ClientId }
type ToServer = RoundEvent | ({ readonly type: 'offer' } & MicroPlace)

interface Work {
  readonly round: number
  readonly attempt: number
  readonly steps: number
  step: number
  micro: number
}

interface Client {
  isPresent: boolean
  work: Work | null
  readonly up: ToServer[]
  readonly down: { readonly message: ToClient; readonly round: number; readonly attempt: number }[]
}

const MOST_TICKS = 20_000
const STRANGER = 'stranger'

export class SimulatedRun {
  state: RoundState
  /** Whether no time passes. */
  withoutTimers = false
  /** The most that was granted at once, bytes. */
  mostHeld = 0
  /** What was granted while the room was not enough for all. */
  waited = 0
  private readonly inflight: Inflight | null = null
  private readonly clients: Map<ClientId, Client>
  private readonly engine: RoundEvent[] = []
  private readonly timers: RoundEvent[] = []
  private readonly history: RoundEvent[] = []

  constructor(private readonly options: SimulationOptions) {
    this.state = options.initial ?? initialRounds()
    this.clients = new Map([...options.counts.keys()].map((id) => [id, { isPresent: false, work: null, up: [], down: [] }]))
    if (options.inflight)
      this.inflight = new Inflight({
        ...options.inflight,
        turns: () => turnsOf(options.settings, this.state),
        grant: (id, batch) => {
          const { round, attempt } = batch
          this.clients.get(id)!.down.push({ message: { type: 'grant', batch }, round, attempt })
          this.mostHeld = Math.max(this.mostHeld, this.inflight!.heldBytes)
        },
      })
  }

  /** Lets everybody join, and goes on until nothing is under way any more. */
  run(): void {
    const { tape } = this.options
    for (const id of this.clients.keys()) this.join(id)
    for (let tick = 0; ; tick++) {
      if (tick > MOST_TICKS) throw new Error('the run does not come to rest')
      if (tick === this.options.stopAfter) this.dispatch({ type: 'stop' })
      if (!tape.isOver && tape.below(8) === 0) this.accident()
      else if (!this.deliver() && tape.isOver) return
    }
  }

  /** Time passes until every timer has fired. */
  exhaustTimers(): void {
    for (let event = this.timers.shift(); event; event = this.timers.shift()) {
      this.dispatch(event)
      while (this.deliver());
    }
  }

  private join(id: ClientId): void {
    const client = this.clients.get(id)!
    Object.assign(client, { isPresent: true, work: null })
    client.up.length = 0
    client.down.length = 0
    this.dispatch({ type: 'joined', client: id })
    client.up.push({ type: 'ready', client: id, counts: this.options.counts.get(id)! })
  }

  private leave(id: ClientId): void {
    const client = this.clients.get(id)!
    Object.assign(client, { isPresent: false, work: null })
    client.up.length = 0
    client.down.length = 0
    this.dispatch({ type: 'lost', client: id, reason: 'vanished' })
  }

  private accident(): void {
    const { tape } = this.options
    const id = [...this.clients.keys()][tape.below(this.clients.size)]
    switch (tape.below(7)) {
      case 0:
        return this.leave(id)
      case 1: // also under an id that is still present: a new process
        return this.join(id)
      case 2:
      case 3: {
        const [event] = this.timers.splice(tape.below(Math.max(1, this.timers.length)), 1)
        return event && this.dispatch(event)
      }
      case 4: {
        const event = this.history[tape.below(Math.max(1, this.history.length))]
        return event && this.dispatch(event)
      }
      default:
        return this.dispatch(this.nonsense(id))
    }
  }

  /** What no honest client sends: from nobody, of another round or attempt, or ahead of its turn. */
  private nonsense(id: ClientId): RoundEvent {
    const { tape, counts } = this.options
    const { round, attempt } = this.state
    const place = { client: id, round, attempt, step: tape.below(4), micro: 2 + tape.below(3) }
    const wrong = [
      { ...place, client: STRANGER },
      { ...place, round: round + 1 },
      { ...place, attempt: attempt + 1 },
      { ...place, step: place.step + 50 },
    ]
    const { micro, ...step } = wrong[tape.below(wrong.length)]
    const events: RoundEvent[] = [
      { type: 'activations', micro, ...step },
      { type: 'activations', ...place, micro: this.options.settings.accumulation + tape.below(2) },
      { type: 'computed', micro, ...step },
      { type: 'computed', ...place, micro: 0 },
      { type: 'skipped', ...step },
      { type: 'adapter', ...place, client: STRANGER },
      { type: 'adapter', ...place, round: round + 1 },
      { type: 'evaluation', ...place, client: STRANGER },
      { type: 'evaluation', ...place, round: round + 1 },
      { type: 'ready', client: STRANGER, counts: [...counts.values()][0] },
      { type: 'lost', client: STRANGER, reason: 'never there' },
    ]
    return events[tape.below(events.length)]
  }

  /** Moves one message, or one piece of the engine's work. @returns false if there is none. */
  private deliver(): boolean {
    const moves: (() => void)[] = []
    for (const [id, client] of this.clients) {
      if (client.up.length > 0) moves.push(() => this.take(client.up.shift()!))
      if (client.down.length > 0) moves.push(() => this.receive(id, client))
      if (!client.isPresent && this.options.comesBack) moves.push(() => this.join(id))
    }
    if (this.engine.length > 0) moves.push(() => this.work(this.engine.shift()!))
    if (moves.length === 0) return false
    moves[this.options.tape.below(moves.length)]()
    return true
  }

  /** As client-messages.ts does. */
  private take(message: ToServer): void {
    if (message.type !== 'offer') {
      if (message.type === 'activations' && this.inflight && isAwaited(this.options.settings, this.state, message))
        this.inflight.check(message.client, trainBatch(message), this.tokensOf(message))
      return this.dispatch(this.remember(message))
    }
    if (!isAwaited(this.options.settings, this.state, message)) return
    const before = this.inflight!.heldBytes
    this.inflight!.offer(message.client, trainBatch(message), this.tokensOf(message))
    if (this.inflight!.heldBytes === before) this.waited++
  }

  /** As round-runner.ts does. */
  private work(event: RoundEvent): void {
    this.dispatch(event)
    if (event.type === 'computed') this.inflight?.release(event.client, trainBatch(event))
  }

  private tokensOf({ client, round, step, micro }: MicroPlace): number {
    return this.options.inflight!.tokensOf(client, round, step, micro)
  }

  private remember(event: RoundEvent): RoundEvent {
    this.history.push(event)
    return event
  }

  private dispatch(event: RoundEvent): void {
    const { settings, selection, watcher } = this.options
    const before = this.state
    watcher.event(event, before)
    const { state, effects } = advanceRounds(settings, selection, before, event)
    this.state = state
    for (const effect of effects) {
      watcher.effect(effect, effect.type === 'round-over' ? before : state)
      this.carryOut(effect)
    }
    if (event.type === 'lost' || event.type === 'joined') this.inflight?.forget(event.client)
    this.inflight?.grantWhatFits()
  }

  private carryOut(effect: RoundEffect): void {
    const { round, attempt } = this.state
    const send = (id: ClientId, message: ToClient): void => void this.clients.get(id)!.down.push({ message, round, attempt })
    switch (effect.type) {
      case 'start-round':
        this.inflight?.begin(effect.clients.length)
        for (const { client, steps } of effect.clients) send(client, { type: 'start', steps })
        return
      case 'restart-round':
        this.inflight?.begin(0)
        return
      case 'evaluate':
        if (!effect.again) this.inflight?.begin(effect.clients.length)
        for (const client of effect.clients) send(client, { type: 'evaluate' })
        return
      case 'discard':
        return this.inflight?.forget(effect.client, effect.step)
      case 'drop':
        this.inflight?.forget(effect.client, effect.step)
        return send(effect.client, effect)
      case 'reply':
        return send(effect.client, effect)
      case 'compute':
        this.inflight?.computing(effect.client, trainBatch({ ...effect, round, attempt }))
        this.engine.push(this.remember({ ...effect, type: 'computed', round, attempt }))
        return
      case 'merge':
        this.engine.push({ type: 'merged' })
        return
      case 'timer':
        if (!this.withoutTimers) this.timers.push(effect.event)
        return
      default:
        return
    }
  }

  private receive(id: ClientId, client: Client): void {
    const { message, round, attempt } = client.down.shift()!
    const { work } = client
    switch (message.type) {
      case 'evaluate':
        client.work = null
        client.up.push({ type: 'evaluation', client: id, round, attempt })
        return
      case 'start':
        client.work = { round, attempt, steps: message.steps, step: 0, micro: 0 }
        return this.act(id, client)
      case 'grant': {
        const { batch } = message
        const isMine = work?.round === batch.round && work.attempt === batch.attempt
        if (!isMine || work.step !== batch.step || work.micro !== batch.micro) return
        client.up.push({ type: 'activations', client: id, ...batch })
        return
      }
      case 'reply':
        if (work?.step !== message.step || work.micro !== message.micro) return
        if (++work.micro === this.options.settings.accumulation) Object.assign(work, { step: work.step + 1, micro: 0 })
        return this.act(id, client)
      case 'drop':
        if (work?.step !== message.step) return
        Object.assign(work, { step: message.next ?? work.steps, micro: 0 })
        return this.act(id, client)
    }
  }

  private act(id: ClientId, client: Client): void {
    const work = client.work!
    const { round, attempt } = work
    const { settings, skips } = this.options
    if (!settings.remoteSteps) work.step = work.steps
    for (; work.step < work.steps && skips(id, round, work.step); work.step++)
      client.up.push({ type: 'skipped', client: id, round, attempt, step: work.step })
    const type = this.inflight ? 'offer' : 'activations'
    if (work.step < work.steps) client.up.push({ type, client: id, round, attempt, step: work.step, micro: work.micro })
    else client.up.push({ type: 'adapter', client: id, round, attempt })
  }
}

function trainBatch({ round, attempt, step, micro }: Omit<MicroPlace, 'client'>): OfferedBatch {
  return { purpose: 'train', round, attempt, step, micro }
}
