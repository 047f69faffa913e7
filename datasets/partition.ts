/**
 * @file Which client gets which units of a data set. Pure, so every process works out the same parts.
 */
import { UserError } from '../shared/errors.js'
import { derive, type Random } from '../shared/random.js'
import type { DataSource } from './source.js'

export type PartitionKind = 'natural' | 'iid'

export interface PartitionOptions {
  /** null: natural if any unit has an owner, else iid. */
  readonly kind: PartitionKind | null
  /** Number of parts, at least 1. */
  readonly parts: number
  readonly seed: number
}

/**
 * The parts of a data set: for each, the numbers of its units, rising. Every unit is in exactly one.
 *
 * @throws UserError DATA_ROW_INVALID if `natural` meets a unit without an owner, CONFIG_VALUE if there are fewer owners than parts.
 */
export function partition(source: DataSource, { kind, parts, seed }: PartitionOptions): number[][] {
  const natural = kind === null ? source.units.some(({ owner }) => owner !== null) : kind === 'natural'
  return natural ? naturalParts(source, parts) : iidParts(source.units.length, parts, derive(seed, 'partition', 'iid'))
}

/** Parts of a random order, whose sizes differ by at most one; with fewer units than parts, some are empty. */
export function iidParts(units: number, parts: number, random: Random): number[][] {
  const order = random.permutation(units)
  return Array.from({ length: parts }, (_, part) => {
    const taken = order.subarray(Math.floor((part * units) / parts), Math.floor(((part + 1) * units) / parts))
    return [...taken].sort((a, b) => a - b)
  })
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
