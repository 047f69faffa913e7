/**
 * @file The round machine in the hands of a test: told what happens, asked what it wants done.
 */
import type { RoundEffect, RoundEvent, RoundSettings, RoundState, Selection } from '../round-state.js'
import { advanceRounds, initialRounds } from '../round.js'

const DEFAULTS: RoundSettings = {
  rounds: 2,
  remoteSteps: true,
  top: 'joint',
  order: 'id',
  accumulation: 1,
  localSteps: 2,
  localEpochs: null,
  rowsPerStep: 2,
  minAvailable: 2,
  minTrain: 1,
  minReplies: 1,
  evaluateEvery: 1,
  stepDeadlineMs: null,
  roundDeadlineMs: null,
  gatherMs: 30_000,
  onClientLoss: 'continue',
}

/** The machine, and what it has asked for since the last look. */
export class Machine {
  state: RoundState
  private effects: RoundEffect[] = []
  readonly settings: RoundSettings
  private readonly selection: Selection

  constructor(settings: Partial<RoundSettings> = {}, selection: Partial<Selection> = {}, initial: RoundState = initialRounds()) {
    this.state = initial
    this.settings = { ...DEFAULTS, ...settings }
    this.selection = { train: (ready) => ready, evaluate: () => [], ...selection }
  }

  tell(...events: RoundEvent[]): this {
    for (const event of events) {
      const { state, effects } = advanceRounds(this.settings, this.selection, this.state, event)
      this.state = state
      this.effects.push(...effects)
    }
    return this
  }

  join(...clients: string[]): this {
    for (const client of clients) this.tell({ type: 'joined', client }, ready(client))
    return this
  }

  /** Sends, and has the engine compute, a client's micro-batches of one step. */
  step(client: string, step: number, micros = this.settings.accumulation): this {
    for (let micro = 0; micro < micros; micro++) this.tell(sent(this, client, step, micro), done(this, client, step, micro))
    return this
  }

  adapter(client: string): this {
    return this.tell({ type: 'adapter', client, round: this.state.round, attempt: this.state.attempt })
  }

  lose(client: string): this {
    return this.tell({ type: 'lost', client, reason: 'vanished' })
  }

  stepDeadline(step: number, client: string | null = null): this {
    return this.tell({ type: 'step-deadline', round: this.state.round, attempt: this.state.attempt, step, client })
  }

  take<Type extends RoundEffect['type']>(type: Type): Extract<RoundEffect, { type: Type }>[] {
    const found = this.effects.filter((effect): effect is Extract<RoundEffect, { type: Type }> => effect.type === type)
    this.effects = this.effects.filter((effect) => effect.type !== type)
    return found
  }
}

export const ready = (client: string, examples = 4, evalExamples = 1): RoundEvent => ({
  type: 'ready',
  client,
  counts: { examples, tokens: 10, evalExamples },
})
export const place = ({ state: { round, attempt } }: Machine, client: string, step: number, micro: number) => ({
  client,
  round,
  attempt,
  step,
  micro,
})
export const sent = (machine: Machine, client: string, step: number, micro = 0): RoundEvent => ({
  type: 'activations',
  ...place(machine, client, step, micro),
})
export const done = (machine: Machine, client: string, step: number, micro = 0): RoundEvent => ({
  type: 'computed',
  ...place(machine, client, step, micro),
})
export const skip = (machine: Machine, client: string, step: number): RoundEvent => ({
  type: 'skipped',
  ...place(machine, client, step, 0),
})
