/**
 * @file What the round machine knows, what happens to it, and what it asks for. Data only: `round.ts` moves it.
 */
import type { UserError } from '../shared/errors.js'

export type ClientId = string

/** What the machine must know of the config. Counts are of clients unless they say otherwise. */
export interface RoundSettings {
  readonly rounds: number
  /** Whether local steps pass through the server (a split), or are made by the client alone. */
  readonly remoteSteps: boolean
  readonly top: 'joint' | 'sequential' | 'replicated'
  readonly order: 'id' | 'arrival'
  /** Micro-batches of a local step. */
  readonly accumulation: number
  /** Local steps of a round; null: `localEpochs` passes over the client's rows. */
  readonly localSteps: number | null
  readonly localEpochs: number | null
  /** Rows of a local step, for counting an epoch's steps. */
  readonly rowsPerStep: number
  readonly minAvailable: number
  readonly minTrain: number
  readonly minReplies: number
  readonly evaluateEvery: number
  readonly stepDeadlineMs: number | null
  /** Of a round's training, and again of its evaluation. */
  readonly roundDeadlineMs: number | null
  /** How long a round's start waits for clients that have gone. */
  readonly gatherMs: number
  /** What a round does that lost a client: it goes on without it, or starts again with it. */
  readonly onClientLoss: 'continue' | 'restart_round'
}

/** A client that is known to the run, present or gone. */
export interface Member {
  readonly present: boolean
  /** Set once it has its model and data. */
  readonly counts: { readonly examples: number; readonly tokens: number; readonly evalExamples: number } | null
}

/** A client selected for the current round. */
export interface Participant {
  /** Local steps that it is to make. */
  readonly steps: number
  /** The step that it works on; `steps` when it is through. */
  readonly step: number
  /** Micro-batches of that step that came in, were handed to the engine, and were computed. */
  readonly received: number
  readonly issued: number
  readonly computed: number
  /** Whether its own step's deadline has passed (replicated top). */
  readonly overdue: boolean
  /** When the step's first micro-batch came, as a running number; orders `order: arrival`. */
  readonly arrival: number
  /** Steps that it was dropped from. */
  readonly dropped: number
  readonly state: 'working' | 'replied' | 'out'
  readonly reason: string | null
}

/** Clients are waited for: before a round's training, or before an evaluation. */
export interface GatheringPhase {
  readonly kind: 'gathering'
  readonly purpose: 'train' | 'evaluate'
  /** Those of the attempt before, who make the round again; null: they are to be selected of all who are ready. */
  readonly selected: readonly ClientId[] | null
  /** Of the wait. `none`: as long as it takes. */
  readonly deadline: 'none' | 'set' | 'passed'
}

export interface TrainingPhase {
  readonly kind: 'training'
  readonly participants: ReadonlyMap<ClientId, Participant>
  /** The step that is open, for a joint or sequential top; a replicated top has no common one. */
  readonly step: number
  /** Joint: clients whose step `step` is computed, and will move the top when it closes. */
  readonly contributors: readonly ClientId[]
  /** Whether the open step's, or the round's, deadline has passed. */
  readonly stepOverdue: boolean
  readonly roundOverdue: boolean
  readonly arrivals: number
}

export interface EvaluatingPhase {
  readonly kind: 'evaluating'
  readonly waiting: readonly ClientId[]
}

export type Phase =
  | GatheringPhase
  | TrainingPhase
  /** The strategy is merging; nothing else may change. */
  | { readonly kind: 'merging' }
  | EvaluatingPhase
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed' }

export interface RoundState {
  /** The current round, or the last one; 0 before training. */
  readonly round: number
  readonly attempt: number
  /** The first attempt at rounds that an interrupted run had begun; at all others it is 0. */
  readonly firstAttempts: ReadonlyMap<number, number>
  readonly started: boolean
  /** Local steps that the schedule counts for a round, fixed at the run's start. */
  readonly localSteps: number
  readonly members: ReadonlyMap<ClientId, Member>
  /**
   * Without whom nobody is selected: those who were there when a run was interrupted that now goes on; under `restart_round` all who were ever ready,
   * because who is selected depends on who is ready.
   */
  readonly awaited: readonly ClientId[]
  /** How often the round was started again, and how many waits for clients have been given a deadline. */
  readonly restarts: number
  readonly waits: number
  readonly phase: Phase
  /** Set once the run is asked to stop; `during` is the training that was under way then. */
  readonly stopping: { readonly during: TrainingPhase | null } | null
}

interface InStep {
  readonly client: ClientId
  readonly round: number
  readonly attempt: number
  readonly step: number
}

export type RoundEvent =
  | { readonly type: 'joined'; readonly client: ClientId }
  | { readonly type: 'ready'; readonly client: ClientId; readonly counts: NonNullable<Member['counts']> }
  | { readonly type: 'lost'; readonly client: ClientId; readonly reason: string }
  | ({ readonly type: 'activations'; readonly micro: number } & InStep)
  | ({ readonly type: 'computed'; readonly micro: number } & InStep)
  | ({ readonly type: 'skipped' } & InStep)
  | { readonly type: 'adapter'; readonly client: ClientId; readonly round: number; readonly attempt: number }
  | { readonly type: 'merged' }
  | { readonly type: 'evaluation'; readonly client: ClientId; readonly round: number; readonly attempt: number }
  | {
      readonly type: 'step-deadline'
      readonly round: number
      readonly attempt: number
      readonly step: number
      readonly client: ClientId | null
    }
  | { readonly type: 'round-deadline'; readonly round: number; readonly attempt: number }
  | { readonly type: 'evaluation-deadline'; readonly round: number; readonly attempt: number }
  /** Of the wait with this number. */
  | { readonly type: 'gather-deadline'; readonly wait: number }
  /** Whoever runs it wants it to end after the step under way. */
  | { readonly type: 'stop' }

export interface Missing {
  readonly client: ClientId
  readonly reason: string
}

export type RoundEffect =
  /** `again`: these were asked before, and have come back since. */
  | { readonly type: 'evaluate'; readonly clients: readonly ClientId[]; readonly again: boolean }
  /** The evaluation ends without this client. */
  | { readonly type: 'skip-evaluation'; readonly client: ClientId; readonly reason: string }
  /** Go back to the round's start, and give up what is under way. `attempt` is the next one; `client` was lost, unless nobody was. */
  | { readonly type: 'restart-round'; readonly attempt: number; readonly client: ClientId | null; readonly reason: string }
  | { readonly type: 'start-round'; readonly clients: readonly { readonly client: ClientId; readonly steps: number }[] }
  /** Run the top on the micro-batch that this client sent. */
  | { readonly type: 'compute'; readonly client: ClientId; readonly step: number; readonly micro: number }
  /** Send the computed gradient. */
  | { readonly type: 'reply'; readonly client: ClientId; readonly step: number; readonly micro: number }
  /** Forget what this client gave to an unfinished step. */
  | { readonly type: 'discard'; readonly client: ClientId; readonly step: number }
  | { readonly type: 'drop'; readonly client: ClientId; readonly step: number; readonly next: number | null; readonly reason: string }
  /** One optimizer step of the top with what these clients gave, in this order. */
  | { readonly type: 'top-step'; readonly step: number; readonly clients: readonly ClientId[] }
  | { readonly type: 'merge'; readonly replies: readonly ClientId[]; readonly missing: readonly Missing[] }
  /** `isUnevaluated`: the run stops before its evaluation is through. */
  | { readonly type: 'round-over'; readonly isUnevaluated?: true }
  | { readonly type: 'timer'; readonly event: Extract<RoundEvent, { type: `${string}-deadline` }>; readonly ms: number }
  | { readonly type: 'finish' }
  | { readonly type: 'fail'; readonly error: UserError }

export interface Transition {
  readonly state: RoundState
  readonly effects: readonly RoundEffect[]
}

/** Choices that a strategy makes: which of the ready clients train, and which evaluate. */
export interface Selection {
  train(ready: readonly ClientId[], round: number): readonly ClientId[]
  evaluate(ready: readonly ClientId[], round: number): readonly ClientId[]
}
