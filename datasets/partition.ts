/**
 * @file Which client gets which units of a data set. Pure, so every process works out the same parts.
 */
import { UserError, unreachable } from '../shared/errors.js'
import { derive } from '../shared/random.js'
import { iidParts } from './partition-iid.js'
import { dirichletParts, quantityParts, shardParts } from './partition-skew.js'
import type { DataSource } from './source.js'

export type PartitionKind = 'natural' | 'iid' | 'dirichlet' | 'shard' | 'quantity'

export interface PartitionOptions {
  /** null: natural if any unit has an owner, else iid. */
  readonly kind: PartitionKind | null
  /** Number of parts, at least 1. */
  readonly parts: number
  /** Concentration of `dirichlet` and `quantity`: the smaller, the more the parts differ. Above 0. */
  readonly alpha: number
  readonly seed: number
}

/**
 * The parts of a data set: for each, the numbers of its units, rising. Every unit is in exactly one.
 *
 * @throws UserError DATA_ROW_INVALID if `natural` meets a unit without an owner, or only some units have a label; CONFIG_VALUE if there
 * are fewer owners than parts; NO_TRAINING_ROWS if `dirichlet`, `shard` or `quantity` has fewer units than parts.
 */
export function partition(source: DataSource, { kind, parts, alpha, seed }: PartitionOptions): number[][] {
  const chosen = kind ?? (source.units.some(({ owner }) => owner !== null) ? 'natural' : 'iid')
  const random = derive(seed, 'partition', chosen)
  switch (chosen) {
    case 'natural':
      return naturalParts(source, parts)
    case 'iid':
      return iidParts(source.units.length, parts, random)
    case 'dirichlet':
      return dirichletParts(source, parts, alpha, random)
    case 'shard':
      return shardParts(source, parts, random)
    case 'quantity':
      return quantityParts(source, parts, alpha, random)
    default:
      return unreachable(`the partition ${String(chosen)}`)
  }
}

/**
 * Each owner's units stay together. Owners go, from the largest on, to the part that has the fewest characters so far:
 * the longest-processing-time rule, which keeps the largest part within 4/3 of the best possible.
 *
 * Source: Graham 1969, "Bounds on multiprocessing timing anomalies", SIAM Journal on Applied Mathematics 17.
 */
function naturalParts({ name, units }: DataSource, parts: number): number[][] {
  const owners = new Map<string, { owner: string; units: number[]; characters: number }>()
  units.forEach(({ owner, place, characters }, unit) => {
    if (owner === null) {
      throw new UserError({
        code: 'DATA_ROW_INVALID',
        what: `${place}: the row has no owner`,
        why: 'data.partition is natural, by which each row goes to the client that it names, and this one has no "client"',
        fix: 'add "client" to every row, or set data.partition to iid',
      })
    }
    const entry = owners.get(owner) ?? { owner, units: [], characters: 0 }
    entry.units.push(unit)
    entry.characters += characters
    owners.set(owner, entry)
  })
  if (owners.size < parts) {
    throw new UserError({
      code: 'CONFIG_VALUE',
      what: `${name} cannot be divided among ${parts} clients`,
      why: `data.partition is natural, and there are only ${owners.size} owners of rows`,
      fix: `set federation.num_clients to at most ${owners.size}, or data.partition to iid`,
    })
  }
  const filled = Array.from({ length: parts }, () => ({ units: [] as number[], owners: 0, characters: 0 }))
  for (const entry of [...owners.values()].sort((a, b) => b.characters - a.characters || (a.owner < b.owner ? -1 : 1))) {
    // Fewest owners settles a tie, so that an owner of no characters still goes to a part that has none yet.
    const smallest = filled.reduce((least, part) => ((part.characters - least.characters || part.owners - least.owners) < 0 ? part : least))
    smallest.units.push(...entry.units)
    smallest.owners++
    smallest.characters += entry.characters
  }
  return filled.map((part) => part.units.sort((a, b) => a - b))
}
