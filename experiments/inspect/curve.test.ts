import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { curve, glyphsOf, MOST_CELLS } from './curve.js'

const LEVELS = { unicode: '▁▂▃▄▅▆▇█', ascii: '_.:-=+*#' } as const
const glyphs = fc.constantFrom('unicode' as const, 'ascii' as const)
const measurement = fc.option(fc.double({ noNaN: true, noDefaultInfinity: true }))

describe('a curve', () => {
  test('falls from the highest to the lowest', () => {
    expect(curve([8, 7, 6, 5, 4, 3, 2, 1], 'unicode')).toBe('█▇▆▅▄▃▂▁')
    expect(curve([8, 7, 6, 5, 4, 3, 2, 1], 'ascii')).toBe('#*+=-:._')
  })

  test.each([null, NaN, Infinity, -Infinity])('leaves a gap for %s', (missing) => {
    expect(curve([1, missing, 2], 'unicode')).toBe('▁ █')
  })

  test('is as high for the largest and the smallest numbers there are', () => {
    expect(curve([-Number.MAX_VALUE, Number.MAX_VALUE], 'unicode')).toBe('▁█')
    expect(curve([Number.MIN_VALUE, 2 * Number.MIN_VALUE], 'unicode')).toBe('▁█')
  })

  test('runs in the middle if it has no height', () => {
    expect(curve([5, 5, null, 5], 'ascii')).toBe('== =')
    expect(curve([], 'ascii')).toBe('')
  })

  test('draws many values as the means of neighbours, and a gap only where none was measured', () => {
    expect(curve([0, 0, 4, null, null, null, 8, 8], 'unicode', 4)).toBe('▁▅ █')
  })

  test('has a character for each value, or as many as fit', () => {
    fc.assert(
      fc.property(
        fc.array(measurement, { maxLength: 3 * MOST_CELLS }),
        glyphs,
        fc.integer({ min: 1, max: MOST_CELLS }),
        (values, style, most) => {
          const drawn = [...curve(values, style, most)]
          expect(drawn).toHaveLength(Math.min(values.length, most))
          expect(drawn.every((character) => ` ${LEVELS[style]}`.includes(character))).toBe(true)
        },
      ),
    )
  })

  test('stands higher where the value is larger, from its lowest level to its highest, with gaps where none is', () => {
    fc.assert(
      fc.property(fc.array(measurement, { maxLength: MOST_CELLS }), glyphs, (values, style) => {
        const heights = [...curve(values, style)].map((character) => LEVELS[style].indexOf(character))
        expect(heights.map((height) => height < 0)).toEqual(values.map((value) => value === null))
        const order = heights.map((_, index) => index).filter((index) => values[index] !== null)
        order.sort((a, b) => values[a]! - values[b]!)
        for (const [place, index] of order.slice(1).entries()) expect(heights[index]).toBeGreaterThanOrEqual(heights[order[place]!]!)
        if (order.length === 0 || values[order[0]!] === values[order.at(-1)!]) return
        expect([heights[order[0]!], heights[order.at(-1)!]]).toEqual([0, 7])
      }),
    )
  })

  test('does not change when all values are moved and scaled alike', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer({ min: -1000, max: 1000 })), { maxLength: MOST_CELLS }), (values) => {
        expect(
          curve(
            values.map((value) => (value === null ? null : 4 * value + 64)),
            'ascii',
          ),
        ).toBe(curve(values, 'ascii'))
      }),
    )
  })
})

describe('the characters of a curve', () => {
  test.each([
    [{ LANG: 'en_US.UTF-8' }, 'linux', 'unicode'],
    [{ LANG: 'C.utf8' }, 'linux', 'unicode'],
    [{ LANG: 'C' }, 'linux', 'ascii'],
    [{}, 'linux', 'ascii'],
    [{ LC_ALL: 'C', LANG: 'en_US.UTF-8' }, 'linux', 'ascii'],
    [{ LC_ALL: '', LC_CTYPE: 'de_DE.UTF-8', LANG: 'C' }, 'linux', 'unicode'],
    [{}, 'win32', 'ascii'],
    [{ WT_SESSION: 'a' }, 'win32', 'unicode'],
  ] as const)('in %j on %s are %s', (environment, platform, expected) => {
    expect(glyphsOf(environment, platform)).toBe(expected)
  })
})
