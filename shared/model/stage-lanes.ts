/**
 * @file A stage in several lanes of an engine, so that micro-batches of different clients are computed at the same time.
 */
import type { Backend } from '../backend/backend.js'
import type { TopStage } from './stage.js'

interface Lane<Stage> {
  readonly lane: number
  /** Opened when its first work comes. */
  stage: Promise<Stage> | null
  /** Work that was given to it and is not done. */
  active: number
}

export class StageLanes<Stage extends { dispose(): Promise<void> }> {
  private readonly lanes: readonly Lane<Stage>[]

  /** @param lanes at least one, the one to prefer first. */
  constructor(
    private readonly backend: Pick<Backend, 'queued'>,
    lanes: readonly number[],
    private readonly openIn: (lane: number) => Promise<Stage>,
  ) {
    this.lanes = lanes.map((lane) => ({ lane, stage: null, active: 0 }))
  }

  get count(): number {
    return this.lanes.length
  }

  first(): Promise<Stage> {
    return this.stageOf(this.lanes[0])
  }

  /** Has the lane that has the least to do do the work. */
  async give<Result>(work: (stage: Stage) => Promise<Result>): Promise<Result> {
    const lane = this.lanes.reduce((least, other) => (this.busy(other) < this.busy(least) ? other : least))
    lane.active++
    try {
      return await work(await this.stageOf(lane))
    } finally {
      lane.active--
    }
  }

  /** Call once, when no work is under way. */
  async dispose(): Promise<void> {
    for (const { stage } of this.lanes) await (await stage)?.dispose()
  }

  private stageOf(lane: Lane<Stage>): Promise<Stage> {
    return (lane.stage ??= this.openIn(lane.lane))
  }

  /** What others do in the same lane counts too; work that is not yet with the engine only shows here. */
  private busy({ lane, active }: Lane<Stage>): number {
    return Math.max(active, this.backend.queued(lane))
  }
}

/** The top, or the whole model, in several lanes: what is given at the same time is computed at the same time, and need not end in order. */
export async function topInLanes(lanes: StageLanes<TopStage>): Promise<TopStage> {
  const { adapterNames } = await lanes.first()
  return {
    adapterNames,
    atOnce: lanes.count,
    train: (...given) => lanes.give((stage) => stage.train(...given)),
    evaluate: (...given) => lanes.give((stage) => stage.evaluate(...given)),
    dispose: () => lanes.dispose(),
  }
}
