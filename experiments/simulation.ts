/**
 * @file What the simulated clients of one process share, so that there can be many of them: programs, the data set, and turns at the work.
 *
 * A client that was not selected holds its packed rows and its end of a link. Nothing of it is compiled or laid out before it works, and
 * after its work it lets go of all that.
 */
import { setImmediate } from 'node:timers/promises'
import { packedData, type PackedData } from '../client/packed-data.js'
import type { Around } from '../client/trainer.js'
import { openDivision } from '../datasets/load.js'
import type { HostedRun } from '../server/host.js'
import { isOwnModule } from '../shared/config/own-path.js'
import type { Config } from '../shared/config/schema.js'
import { checkRowsFit } from '../shared/model/fit.js'
import { SharedStages, type Stages } from '../shared/model/stages.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import { Turns } from '../shared/turns.js'
import { once } from '../shared/once.js'

/** Work of different clients that does not have to go on together: enough that no lane is ever idle, and no more in memory than that. */
const TURNS_PER_LANE = 2

export interface Simulation {
  readonly stages: Stages
  /** @param index the client's part of the data, from 0. */
  client(id: string, index: number): SimulatedClient
  /** Clients whose rows are laid out: those that work, or wait for each other in a step. */
  readonly atWork: number
  /** Once no client works any more. */
  dispose(): Promise<void>
}

export interface SimulatedClient {
  openData(welcome: MessageOf<'welcome'>): Promise<PackedData>
  readonly around: Around
}

/** Nothing is read, and nothing compiled, before a client asks. */
export function simulate(config: Config, { model, backend }: Pick<HostedRun, 'model' | 'backend'>): Simulation {
  const { data, train, federation, split } = config
  // The top is in lane 0: clients have it last.
  const lanes = Array.from({ length: backend.lanes }, (_, lane) => (lane + 1) % backend.lanes)
  const stages = new SharedStages(backend, lanes)
  const turns = new Turns(TURNS_PER_LANE * backend.lanes)
  const opened: PackedData[] = []
  const tokenizer = once(() => model.tokenizer())
  const division = once(() =>
    // Whoever starts a run names its data set: its clients may run that file.
    openDivision({ data, seed: train.seed, parts: federation.num_clients, datasetFile: isOwnModule(data.dataset) ? data.dataset : null }),
  )
  return {
    stages,
    client(id, index) {
      let own: PackedData | null = null
      return {
        async openData({ config: given }) {
          const [divided, known] = [await division(), await tokenizer()]
          // One client's rows at a time: progress is drawn, and Ctrl-C heard, between two.
          await setImmediate()
          const { rows } = divided.load(split.topology === 'centralized' ? null : index, known)
          for (const some of [rows.train, rows.evaluation]) checkRowsFit(some, model.architecture, model.name)
          own = packedData(rows, id, given)
          opened.push(own)
          return own
        },
        around(work, task) {
          const begun = (): Promise<void> => task().finally(() => own?.close())
          // The steps of a split round are made together: who waits for a turn there would keep everyone waiting.
          return work === 'round' && split.topology === 'split' ? begun() : turns.take(begun)
        },
      }
    },
    get atWork() {
      return opened.filter(({ isOpen }) => isOpen).length
    },
    dispose: () => stages.dispose(),
  }
}
