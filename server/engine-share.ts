/**
 * @file How the engine of a server divides the cores: over lanes, which work at the same time, and over the threads of each.
 */
import { clientCount, type Config } from '../shared/config/schema.js'
import type { Architecture } from '../shared/model/families/family.js'
import { isNarrow } from '../shared/model/narrow.js'

export interface EngineShare {
  readonly lanes: number
  /** Of each lane. */
  readonly threads: readonly number[]
  /** The first lanes, in each of which the top computes one micro-batch at a time. */
  readonly topLanes: number
}

/** The engine of a process that has only the server. @param threads in all */
export function serverShare(config: Config, model: Architecture, threads: number): EngineShare {
  const lanes = topLanesOf(config, model, threads)
  return { lanes, threads: Array.from({ length: lanes }, (_, lane) => Math.floor((threads + lane) / lanes)), topLanes: lanes }
}

/**
 * The engine of a process in which the clients work too. The top is most of the work, and of a wide model it computes for one client after the
 * other while the others mostly wait for it: so its lane has all cores, and clients fill the gaps.
 *
 * @param threads in all, for such a lane
 * @param lanes in all, the clients' too
 * @param each threads of any other lane
 */
export function sharedEngine(
  config: Config,
  model: Architecture,
  { threads, lanes, each }: { threads: number; lanes: number; each: number },
): EngineShare {
  const topLanes = topLanesOf(config, model, lanes)
  const first = config.split.topology === 'split' && topLanes === 1 ? threads : each
  return { lanes, threads: [first, ...Array.from({ length: lanes - 1 }, () => each)], topLanes }
}

function topLanesOf(config: Config, model: Architecture, most: number): number {
  // One client after the other is what `sequential` means.
  const meetsSeveral = config.split.topology === 'split' && config.federation.top !== 'sequential'
  return meetsSeveral && isNarrow(model) ? Math.min(most, clientCount(config)) : 1
}
