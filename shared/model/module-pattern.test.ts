import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePattern, escapePattern, PatternError } from './module-pattern.js'
import { goldenFile, readJson } from './testing/golden.js'

/** Parts that mean the same in JavaScript. */
const part: fc.Arbitrary<string> = fc.letrec<{ pattern: string; atom: string }>((tie) => ({
  atom: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', String.raw`\.`, String.raw`\w`, '(?=a)', '(?!b)', String.raw`\b`, '^', '$'),
    tie('pattern').map((inside) => `(?:${inside})`),
    fc.tuple(fc.constantFrom('a', 'b', '.'), fc.constantFrom('*', '+', '?', '{2}', '{1,2}', '*?')).map((both) => both.join('')),
    fc.tuple(tie('pattern'), fc.constantFrom('*', '+', '?', '{2}', '{0,3}', '+?')).map(([inside, times]) => `(${inside})${times}`),
  ),
  pattern: fc.oneof(
    fc.array(tie('atom'), { maxLength: 4 }).map((atoms) => atoms.join('')),
    fc.tuple(tie('atom'), tie('atom')).map((options) => options.join('|')),
  ),
})).pattern

describe('a module pattern', () => {
  test('matches what Python says that it matches', () => {
    const table = readJson<[pattern: string, path: string, matches: boolean][]>(goldenFile('adapters', 'patterns.json'))
    expect(table.filter(([, , matches]) => matches).length).toBeGreaterThan(50)
    expect(table.filter(([pattern, path, matches]) => compilePattern(pattern).matches(path) !== matches)).toEqual([])
  })

  test('matches what JavaScript says, where both mean the same', () => {
    fc.assert(
      fc.property(part, fc.stringMatching(/^[ab.]{0,6}$/), (pattern, text) => {
        expect(compilePattern(pattern).matches(text)).toBe(new RegExp(`^(?:${pattern})$`).test(text))
      }),
      { numRuns: 1000 },
    )
  })

  test('that is a text, escaped, matches that text alone', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii' }), fc.string({ unit: 'grapheme-ascii' }), (text, other) => {
        const pattern = compilePattern(escapePattern(text))
        expect([pattern.matches(text), pattern.matches(other)]).toEqual([true, text === other])
      }),
    )
  })

  test('that would take a backtracking matcher longer than the universe has been there is answered', () => {
    const path = 'a'.repeat(200)
    expect(compilePattern('(a+)+b').matches(path)).toBe(false)
    expect(compilePattern('(((a*)*)*)*c').matches(path)).toBe(false)
    expect(compilePattern('(a|a)*(a|aa){3,900}d').matches(path)).toBe(false)
    expect(compilePattern('((a?){1000}){1000}').matches('a'.repeat(20))).toBe(true)
  })

  test.each([
    ['(?<=h)x', 'lookbehind'],
    ['(?<!h)x', 'lookbehind'],
    ['(?i)x', 'inline flag'],
    ['(?i:x)', 'inline flag'],
    ['(?>x)', 'atomic'],
    ['(?P<n>x)(?P=n)', 'back reference'],
    [String.raw`(x)\1`, 'back reference'],
    ['(x)?(?(1)y|z)', 'conditional'],
    ['x*+', 'possessive'],
    ['x{2}{3}', 'repeats a repetition'],
    ['x**', 'repeats a repetition'],
    ['*x', 'nothing before * to repeat'],
    ['{2}x', 'nothing before { to repeat'],
    ['x{3,2}', 'counts down'],
    ['x{1001}', 'more than 1000'],
    ['(x', 'not closed'],
    ['x)', 'not opened'],
    ['[x', 'not closed'],
    ['[]', 'not closed'],
    ['[b-a]', 'range'],
    [String.raw`[a-\d]`, 'range'],
    [String.raw`\p{L}`, String.raw`\p`],
    ['(?P<1>x)', 'proper name'],
    ['x\\', 'ends with a backslash'],
    [String.raw`\xg0`, 'digits'],
    ['('.repeat(51) + ')'.repeat(51), 'nested'],
    ['x'.repeat(65537), '65537 characters'],
  ])('%s is refused by name', (pattern, why) => {
    expect(() => compilePattern(pattern)).toThrow(PatternError)
    expect(() => compilePattern(pattern)).toThrow(why)
  })
})
