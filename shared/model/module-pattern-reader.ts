/**
 * @file The grammar of module patterns: from a pattern's text to a tree. What it means is in module-pattern.ts.
 */

export type Node =
  | { readonly kind: 'character'; readonly takes: (character: string) => boolean }
  /** Takes no character, and holds at some positions only. */
  | { readonly kind: 'place'; readonly is: (text: string, at: number) => boolean }
  | { readonly kind: 'lookahead'; readonly body: Node; readonly wanted: boolean }
  | { readonly kind: 'sequence'; readonly parts: readonly Node[] }
  | { readonly kind: 'either'; readonly options: readonly Node[] }
  | Repeat

export interface Repeat {
  readonly kind: 'repeat'
  readonly body: Node
  readonly least: number
  readonly most: number
}

/** What is wrong with a pattern, as a clause. */
export class PatternError extends Error {
  override readonly name = 'PatternError'
}

type Takes = (character: string) => boolean

const MAX_LENGTH = 65536
const MAX_DEPTH = 50
const MAX_COUNT = 1000

const isDigit: Takes = (character) => character >= '0' && character <= '9'
const isWord: Takes = (character) => /\w/.test(character)
const isSpace: Takes = (character) => /\s/.test(character)
const not =
  (takes: Takes): Takes =>
  (character) =>
    !takes(character)

const CLASSES: ReadonlyMap<string, Takes> = new Map([
  ['d', isDigit],
  ['D', not(isDigit)],
  ['w', isWord],
  ['W', not(isWord)],
  ['s', isSpace],
  ['S', not(isSpace)],
])

type IsPlace = (text: string, at: number) => boolean
const isStart: IsPlace = (_, at) => at === 0
const isBoundary: IsPlace = (text, at) => isWord(text[at - 1] ?? ' ') !== isWord(text[at] ?? ' ')
const PLACES: ReadonlyMap<string, IsPlace> = new Map([
  ['A', isStart],
  ['Z', (text, at) => at === text.length],
  ['b', isBoundary],
  ['B', (text, at) => !isBoundary(text, at)],
])

const CONTROLS: ReadonlyMap<string, string> = new Map(Object.entries({ a: '\x07', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }))

/** What begins with `(?` and is not read. */
const REFUSED_GROUPS: readonly (readonly [RegExp, string])[] = [
  [/^\(\?<[=!]/, 'lookbehind'],
  [/^\(\?P=/, 'a back reference'],
  [/^\(\?\(/, 'a conditional group'],
  [/^\(\?>/, 'an atomic group'],
  [/^\(\?#/, 'a comment'],
  [/^\(\?(?!P<)[a-zA-Z-]/, 'an inline flag'],
]

export class PatternReader {
  private at = 0
  private depth = 0

  constructor(private readonly source: string) {}

  /** @throws PatternError */
  read(): Node {
    if (this.source.length > MAX_LENGTH)
      throw new PatternError(`it has ${this.source.length} characters, and at most ${MAX_LENGTH} are read`)
    const root = this.alternatives()
    if (this.at < this.source.length) throw new PatternError('a group is closed that was not opened')
    return root
  }

  private alternatives(): Node {
    const options = [this.sequence()]
    while (this.takes('|')) options.push(this.sequence())
    return options.length === 1 ? options[0]! : { kind: 'either', options }
  }

  private sequence(): Node {
    const parts: Node[] = []
    while (this.at < this.source.length && !'|)'.includes(this.source[this.at]!)) parts.push(this.repeats(this.atom()))
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts }
  }

  private atom(): Node {
    const character = this.source[this.at++]!
    switch (character) {
      case '.':
        return { kind: 'character', takes: (other) => other !== '\n' }
      case '^':
        return { kind: 'place', is: isStart }
      case '$':
        return { kind: 'place', is: (text, at) => at === text.length || (at === text.length - 1 && text[at] === '\n') }
      case '(':
        return this.group()
      case '[':
        return { kind: 'character', takes: this.characterClass() }
      case '\\':
        return this.escape()
      case '*':
      case '+':
      case '?':
        throw new PatternError(`there is nothing before ${character} to repeat`)
      case '{':
        if (this.counts(this.at - 1)) throw new PatternError('there is nothing before { to repeat')
        return literal(character)
      default:
        return literal(character)
    }
  }

  private group(): Node {
    const rest = this.source.slice(this.at - 1, this.at + 3)
    for (const [begins, what] of REFUSED_GROUPS)
      if (begins.test(rest)) throw new PatternError(`it has ${what}, ${rest.trim()}, which is not read`)
    const kind = ['(?:', '(?=', '(?!'].find((opening) => rest.startsWith(opening))
    if (kind) this.at += 2
    else if (rest.startsWith('(?P<')) {
      const name = /^\?P<[A-Za-z_]\w*>/.exec(this.source.slice(this.at, this.at + 256))?.[0]
      if (name === undefined) throw new PatternError('a group has no proper name')
      this.at += name.length
    } else if (rest.startsWith('(?')) throw new PatternError(`it has ${rest}, which is not read`)
    if (++this.depth > MAX_DEPTH) throw new PatternError(`its groups are nested more than ${MAX_DEPTH} deep`)
    const body = this.alternatives()
    this.depth--
    if (!this.takes(')')) throw new PatternError('a group is not closed')
    return kind === '(?=' || kind === '(?!' ? { kind: 'lookahead', body, wanted: kind === '(?=' } : body
  }

  private repeats(body: Node): Node {
    const [least, most] = this.quantifier() ?? []
    if (least === undefined || most === undefined) return body
    // Lazy or greedy: the same texts match.
    this.takes('?')
    if (this.source[this.at] === '+') throw new PatternError('it has a possessive repetition, which is not read')
    if (this.source[this.at] === '*' || this.counts(this.at)) throw new PatternError('it repeats a repetition')
    return { kind: 'repeat', body, least, most }
  }

  private quantifier(): readonly [number, number] | null {
    if (this.takes('*')) return [0, Infinity]
    if (this.takes('+')) return [1, Infinity]
    if (this.takes('?')) return [0, 1]
    const counts = this.counts(this.at)
    if (!counts) return null
    this.at += counts[0].length
    const [, from, comma, to] = counts
    const least = from === '' ? 0 : Number(from)
    const most = comma === undefined ? least : to === '' ? Infinity : Number(to)
    if (least > most) throw new PatternError(`${counts[0]} counts down`)
    if (least > MAX_COUNT || (most > MAX_COUNT && most !== Infinity))
      throw new PatternError(`${counts[0]} repeats more than ${MAX_COUNT} times`)
    return [least, most]
  }

  /** `{m}`, `{m,}`, `{,n}` or `{m,n}` there; any other brace stands for itself. */
  private counts(at: number): RegExpExecArray | null {
    const counts = /^\{(\d*)(?:(,)(\d*))?\}/.exec(this.source.slice(at, at + 32))
    return counts && counts[0] !== '{}' ? counts : null
  }

  private characterClass(): Takes {
    const isNegated = this.takes('^')
    const parts: Takes[] = []
    for (let isFirst = true; isFirst || this.source[this.at] !== ']'; isFirst = false) {
      if (this.at >= this.source.length) throw new PatternError('a [ is not closed')
      const low = this.classMember()
      const isRange = this.source[this.at] === '-' && this.at + 1 < this.source.length && this.source[this.at + 1] !== ']'
      if (!isRange) {
        parts.push(typeof low === 'string' ? (other) => other === low : low)
        continue
      }
      this.at++
      const high = this.classMember()
      if (typeof low !== 'string' || typeof high !== 'string' || low > high) throw new PatternError('a range in [ ] has no proper ends')
      parts.push((other) => other >= low && other <= high)
    }
    this.at++
    const takes: Takes = (other) => parts.some((part) => part(other))
    return isNegated ? not(takes) : takes
  }

  private classMember(): string | Takes {
    const character = this.source[this.at++]!
    if (character !== '\\') return character
    const named = CLASSES.get(this.source[this.at] ?? '')
    if (!named) return this.source[this.at] === 'b' ? (this.at++, '\b') : this.escaped()
    this.at++
    return named
  }

  private escape(): Node {
    const letter = this.source[this.at] ?? ''
    const [takes, is] = [CLASSES.get(letter), PLACES.get(letter)]
    if (takes || is) this.at++
    if (takes) return { kind: 'character', takes }
    return is ? { kind: 'place', is } : literal(this.escaped())
  }

  /** The character that stands after a backslash. */
  private escaped(): string {
    const letter = this.source[this.at++]
    if (letter === undefined) throw new PatternError('it ends with a backslash')
    const digits = letter === 'x' ? 2 : letter === 'u' ? 4 : 0
    if (digits > 0) {
      const code = this.source.slice(this.at, this.at + digits)
      if (code.length < digits || !/^[0-9a-fA-F]+$/.test(code)) throw new PatternError(`\\${letter} has no ${digits} digits after it`)
      this.at += digits
      return String.fromCharCode(parseInt(code, 16))
    }
    if (isDigit(letter)) throw new PatternError(`it has \\${letter}, a back reference or an octal number, which are not read`)
    if (/[A-Za-z]/.test(letter)) return CONTROLS.get(letter) ?? refuseEscape(letter)
    return letter
  }

  private takes(character: string): boolean {
    if (this.source[this.at] !== character) return false
    this.at++
    return true
  }
}

function literal(character: string): Node {
  return { kind: 'character', takes: (other) => other === character }
}

function refuseEscape(letter: string): never {
  throw new PatternError(`it has \\${letter}, which is not read`)
}
