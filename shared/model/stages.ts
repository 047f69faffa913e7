/**
 * @file Who opens a client's side of the model: in a lane of its own, or in lanes that many clients of one process share.
 */
import type { Backend } from '../backend/backend.js'
import { StageLanes, topInLanes } from './stage-lanes.js'
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

/**
 * Clients of one model and one config, who share programs: one of each kind in each lane, however many clients there are.
 *
 * A micro-batch goes to the lane that has the least to do, and its backward pass to where its forward pass was. Adapters and masks are
 * inputs, and numbers do not depend on the lane, so nobody's results depend on who else is there.
 */
export class SharedStages implements Stages {
  private readonly bottoms = new Map<number, Promise<BottomStage>>()
  private shared: Promise<TopStage> | null = null
  private readonly opened: StageLanes<BottomStage | TopStage>[] = []

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
    for (const lanes of this.opened.splice(0)) await lanes.dispose()
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
    return { ...(await topInLanes(lanes)), dispose: async () => {} }
  }

  private open<Stage extends BottomStage | TopStage>(openIn: (lane: number) => Promise<Stage>): StageLanes<Stage> {
    const lanes = new StageLanes(this.backend, this.lanes, openIn)
    this.opened.push(lanes)
    return lanes
  }
}
