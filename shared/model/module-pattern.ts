/**
 * @file Python's regular expressions over module paths, as PEFT's configs have them: the part that says which texts match, and no more.
 *
 * They come from adapters of the hub and from servers, so none may take long: the matcher never backtracks. It carries the set of positions that
 * have been reached through the pattern, which takes time in proportion to the pattern times the square of the path's length at most.
 *
 * Read are literals, `.`, classes, `\d \w \s` and their opposites, `^ $ \A \Z \b \B`, groups `( ) (?: ) (?P<name> )`, `|`, `* + ? {m,n}` greedy or
 * lazy, and lookahead `(?= ) (?! )`. Paths are ASCII, where these mean the same everywhere. All else is refused by name.
 * Source: https://docs.python.org/3/library/re.html; for the matcher Thompson 1968, doi:10.1145/363347.363387.
 */
import { PatternReader, type Node, type Repeat } from './module-pattern-reader.js'

export { PatternError } from './module-pattern-reader.js'

export interface ModulePattern {
  /** Whether the pattern matches the path from its beginning to its end, as Python's `re.fullmatch`. */
  matches(path: string): boolean
}

/** @throws PatternError saying what is wrong with the pattern, or what of it is not read. */
export function compilePattern(source: string): ModulePattern {
  const root = new PatternReader(source).read()
  return { matches: (path) => new Matcher(path).ends(root, new Set([0])).has(path.length) }
}

/** Literally this text, as a part of a pattern. */
export function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

type Positions = ReadonlySet<number>

class Matcher {
  /** Where each repetition ends that begins at a position. */
  private readonly known = new Map<Repeat, Map<number, Positions>>()

  constructor(private readonly text: string) {}

  /** The positions to which the node leads from any of these. */
  ends(node: Node, starts: Positions): Positions {
    if (starts.size === 0) return starts
    switch (node.kind) {
      case 'character':
        return mapped(starts, (at) => (at < this.text.length && node.takes(this.text[at]!) ? at + 1 : null))
      case 'place':
        return mapped(starts, (at) => (node.is(this.text, at) ? at : null))
      case 'lookahead':
        return mapped(starts, (at) => (this.ends(node.body, new Set([at])).size > 0 === node.wanted ? at : null))
      case 'sequence':
        return node.parts.reduce((reached, part) => this.ends(part, reached), starts)
      case 'either':
        return union(node.options.map((option) => this.ends(option, starts)))
      case 'repeat':
        return union([...starts].map((start) => this.repeated(node, start)))
    }
  }

  private repeated(node: Repeat, start: number): Positions {
    const known = this.known.get(node) ?? new Map<number, Positions>()
    this.known.set(node, known)
    const before = known.get(start)
    if (before) return before
    let reached: Positions = new Set([start])
    for (let count = 0; count < node.least; count++) {
      const next = this.ends(node.body, reached)
      if (isSame(next, reached)) break // and would be the same each time
      reached = next
    }
    const all = new Set(reached)
    for (let count = node.least; count < node.most && reached.size > 0; count++) {
      reached = new Set([...this.ends(node.body, reached)].filter((end) => !all.has(end)))
      for (const end of reached) all.add(end)
    }
    known.set(start, all)
    return all
  }
}

function mapped(starts: Positions, next: (at: number) => number | null): Positions {
  const ends = new Set<number>()
  for (const start of starts) {
    const end = next(start)
    if (end !== null) ends.add(end)
  }
  return ends
}

function union(sets: readonly Positions[]): Positions {
  return new Set(sets.flatMap((set) => [...set]))
}

function isSame(a: Positions, b: Positions): boolean {
  return a.size === b.size && [...a].every((position) => b.has(position))
}
