/**
 * @file Who opens a client's side of the model: in a lane of its own, or in lanes that many clients of one process share.
 */
import type { Backend } from '../backend/backend.js'
import { openBottom, openTop, type BottomStage, type Pending, type StageSetting, type TopStage } from './stage.js'

type Setting = Omit<StageSetting, 'lane'>

/** Opens a client's side: the blocks before the cut, or the whole model. */
export interface Stages {
  bottom(setting: Setting, layer: number): Promise<BottomStage>
  whole(setting: Setting): Promise<TopStage>
}

/** A client that has a lane to itself. */
export function stagesInLane(lane: number): Stages {
  return {
    bottom: (setting, layer) => openBottom({ ...setting, lane }, layer),
    whole: (setting) => openTop({ ...setting, lane }, null),
  }
}

interface Lane<Stage> {
  readonly lane: number
  /** Opened when its first work comes. */
  stage: Promise<Stage> | null
  /** Work that was given to it and is not done. */
  active: number
}

/**
 * Clients of one model and one config, who share programs: one of each kind in each lane, however many clients there are.
 *
 * A micro-batch goes to the lane that has the least to do, and its backward pass to where its forward pass was. Adapters and masks are
 * inputs, and numbers do not depend on the lane, so nobody's results depend on who else is there.
 */
export class SharedStages implements Stages {
  private readonly bottoms = new Map<number, Promise<BottomStage>>()
  private shared: Promise<TopStage> | null = null
  private readonly disposals: (() => Promise<void>)[] = []

  /** @param lanes the one to prefer first. */
  constructor(
    private readonly backend: Pick<Backend, 'queued'>,
    private readonly lanes: readonly number[],
  ) {}

  bottom(setting: Setting, layer: number): Promise<BottomStage> {
    let bottom = this.bottoms.get(layer)
    if (!bottom) {
      bottom = this.openBottoms(setting, layer)
      this.bottoms.set(layer, bottom)
    }
    return bottom
  }

  whole(setting: Setting): Promise<TopStage> {
    this.shared ??= this.openWholes(setting)
    return this.shared
  }

  /** Ends the programs, once no client works with them. */
  async dispose(): Promise<void> {
    for (const dispose of this.disposals.splice(0)) await dispose()
  }

  private async openBottoms(setting: Setting, layer: number): Promise<BottomStage> {
    const lanes = this.open((lane) => openBottom({ ...setting, lane }, layer))
    const homes = new WeakMap<Pending, BottomStage>()
    const homeOf = (pending: Pending): BottomStage => homes.get(pending)!
    const { adapterNames } = await lanes.first()
    return {
      adapterNames,
      forward: (...given) =>
        lanes.give(async (stage) => {
          const result = await stage.forward(...given)
          homes.set(result.pending, stage)
          return result
        }),
      backward: (pending, gradient) => homeOf(pending).backward(pending, gradient),
      discard: (pending) => homeOf(pending).discard(pending),
      evaluate: (...given) => lanes.give((stage) => stage.evaluate(...given)),
      dispose: async () => {}, // others still work with it
    }
  }

  private async openWholes(setting: Setting): Promise<TopStage> {
    const lanes = this.open((lane) => openTop({ ...setting, lane }, null))
    const { adapterNames } = await lanes.first()
    return {
      adapterNames,
      train: (...given) => lanes.give((stage) => stage.train(...given)),
      evaluate: (...given) => lanes.give((stage) => stage.evaluate(...given)),
      dispose: async () => {},
    }
  }

  private open<Stage extends { dispose(): Promise<void> }>(
    openIn: (lane: number) => Promise<Stage>,
  ): { first(): Promise<Stage>; give<Result>(work: (stage: Stage) => Promise<Result>): Promise<Result> } {
    const lanes = this.lanes.map((lane): Lane<Stage> => ({ lane, stage: null, active: 0 }))
    const stageOf = (lane: Lane<Stage>): Promise<Stage> => (lane.stage ??= openIn(lane.lane))
    this.disposals.push(async () => {
      for (const { stage } of lanes) await (await stage)?.dispose()
    })
    // What others do in the same lanes, as the server's top, counts too; work that is not yet with the engine only shows here.
    const busy = ({ lane, active }: Lane<Stage>): number => Math.max(active, this.backend.queued(lane))
    return {
      first: () => stageOf(lanes[0]),
      async give(work) {
        const lane = lanes.reduce((least, other) => (busy(other) < busy(least) ? other : least))
        lane.active++
        try {
          return await work(await stageOf(lane))
        } finally {
          lane.active--
        }
      },
    }
  }
}
