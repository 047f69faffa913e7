/**
 * @file Parts that differ on purpose, as studies of federated learning make them: in the labels that clients hold, or in how many rows.
 *
 * Labels are what rows say under `label`. Where no row has one, rows are told apart by their length. Each part gets at least one row.
 */
import { UserError } from '../shared/errors.js'
import type { Random } from '../shared/random.js'
import { dirichlet } from './dirichlet.js'
import { iidParts } from './partition-iid.js'
import type { DataSource } from './source.js'

/** Without labels, rows form as many classes of equal size by their length: as many as the images of CIFAR-10 have, the usual example. */
const LENGTH_CLASSES = 10
const SHARDS_PER_PART = 2

/**
 * Parts of equal size (within one row), each with a mixture of labels of its own: q ~ Dir(alpha p), where p is the mixture of the whole.
 * Towards alpha 0 a part has one label, towards infinity all have the same mixture. Parts draw a row in turn, by q among the labels
 * that still have rows, so that none is left with what the others did not want.
 *
 * @throws UserError NO_TRAINING_ROWS for fewer rows than parts, DATA_ROW_INVALID where only some rows have a label.
 * Source: Hsu, Qi & Brown 2019, arXiv:1909.06335, section 3.1.
 */
export function dirichletParts(source: DataSource, parts: number, alpha: number, random: Random): number[][] {
  checkEnough(source, parts)
  const total = source.units.length
  const left = classes(source).map((units) => shuffled(units, random))
  const prior = left.map((units) => units.length / total)
  const mixtures = Array.from({ length: parts }, () =>
    dirichlet(
      prior.map((share) => alpha * share),
      random,
    ),
  )
  const divided = Array.from({ length: parts }, (): number[] => [])
  for (let dealt = 0; dealt < total; dealt++) {
    const part = dealt % parts
    const unit = left[drawClass(mixtures[part], left, random)].pop()
    if (unit !== undefined) divided[part].push(unit)
  }
  return divided.map(rising)
}

/**
 * Rows sorted by label (else by length) are cut into two shards for each part, and each part is dealt two of them: most parts
 * know two labels only. With fewer than two rows for each part, shards are single rows, and some parts get one.
 *
 * @throws UserError NO_TRAINING_ROWS for fewer rows than parts, DATA_ROW_INVALID where only some rows have a label.
 * Source: McMahan et al. 2017, arXiv:1602.05629, section 3.
 */
export function shardParts(source: DataSource, parts: number, random: Random): number[][] {
  checkEnough(source, parts)
  const sorted = hasLabels(source) ? classes(source).flat() : byLength(source)
  const shards = Math.min(SHARDS_PER_PART * parts, sorted.length)
  const cut = (shard: number): number => Math.floor((shard * sorted.length) / shards)
  return iidParts(shards, parts, random).map((dealt) => rising(dealt.flatMap((shard) => sorted.slice(cut(shard), cut(shard + 1)))))
}

/**
 * Parts alike in kind but not in size: after one row for each, the other rows are shared out by Dir(alpha), rounded by largest remainders.
 *
 * @throws UserError NO_TRAINING_ROWS for fewer rows than parts.
 * Source: Li, Diao, Chen & He 2022, arXiv:2102.02079, section 4.3 (quantity skew).
 */
export function quantityParts(source: DataSource, parts: number, alpha: number, random: Random): number[][] {
  checkEnough(source, parts)
  const shares = dirichlet(Array<number>(parts).fill(alpha), random)
  const sizes = apportioned(shares, source.units.length - parts).map((extra) => extra + 1)
  const order = random.permutation(source.units.length)
  let start = 0
  return sizes.map((size) => {
    start += size
    return rising([...order.subarray(start - size, start)])
  })
}

function checkEnough({ name, units }: DataSource, parts: number): void {
  if (units.length >= parts) return
  throw new UserError({
    code: 'NO_TRAINING_ROWS',
    what: `${name} cannot be divided among ${parts} clients`,
    why: `it has ${units.length} rows, fewer than there are clients`,
    fix: `set federation.num_clients to at most ${units.length}, or use more rows`,
  })
}

const rising = (units: readonly number[]): number[] => [...units].sort((a, b) => a - b)
const shuffled = (units: readonly number[], random: Random): number[] => Array.from(random.permutation(units.length), (at) => units[at])
const hasLabels = ({ units }: DataSource): boolean => units.some(({ label }) => label !== null)

/** The units of each label, labels in the order of their code units; else classes by length, shortest first. None is empty. */
function classes(source: DataSource): number[][] {
  if (!hasLabels(source)) {
    const sorted = byLength(source)
    const count = Math.min(LENGTH_CLASSES, sorted.length)
    const cut = (index: number): number => Math.floor((index * sorted.length) / count)
    return Array.from({ length: count }, (_, index) => sorted.slice(cut(index), cut(index + 1)))
  }
  const byLabel = new Map<string, number[]>()
  source.units.forEach(({ label, place }, unit) => {
    if (label === null) throw withoutLabel(place)
    const units = byLabel.get(label)
    if (units) units.push(unit)
    else byLabel.set(label, [unit])
  })
  return [...byLabel.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, units]) => units)
}

/** Shortest first; equal lengths as they come. */
function byLength({ units }: DataSource): number[] {
  return units.map((_, unit) => unit).sort((a, b) => units[a].characters - units[b].characters || a - b)
}

/** A class drawn by `mixture` among those with units left; by how many they have left where the mixture gives them nothing. */
function drawClass(mixture: readonly number[], left: readonly (readonly number[])[], random: Random): number {
  const wanted = (index: number): number => (left[index].length > 0 ? mixture[index] : 0)
  const remaining = (index: number): number => left[index].length
  const sum = (weight: (index: number) => number): number => left.reduce((total, _, index) => total + weight(index), 0)
  const weight = sum(wanted) > 0 ? wanted : remaining
  let rest = random.uniform() * sum(weight)
  let drawn = 0
  for (let index = 0; index < left.length; index++) {
    if (weight(index) === 0) continue
    // The last class with a weight stands where rounding leaves a little over.
    drawn = index
    rest -= weight(index)
    if (rest < 0) break
  }
  return drawn
}

/** `total` things by shares that sum to 1: whole parts first, the rest to the largest remainders. */
function apportioned(shares: readonly number[], total: number): number[] {
  const counts = shares.map((share) => Math.floor(share * total))
  const remainder = (part: number): number => shares[part] * total - counts[part]
  const order = shares.map((_, part) => part).sort((a, b) => remainder(b) - remainder(a) || a - b)
  const missing = total - counts.reduce((sum, count) => sum + count, 0)
  const given = new Set(order.slice(0, missing))
  return counts.map((count, part) => count + (given.has(part) ? 1 : 0))
}

function withoutLabel(place: string): UserError {
  return new UserError({
    code: 'DATA_ROW_INVALID',
    what: `${place}: the row has no label`,
    why: 'other rows have a "label", by which data.partition divides them, and this one has none',
    fix: 'add "label" to every row, or take it out of all, so that they are divided by length',
  })
}
