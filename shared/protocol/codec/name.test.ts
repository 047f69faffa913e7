import { describe, expect, test } from 'vitest'
import { evaluationName, nameWithoutHistory, PART_NAMES, partNames, readCodecName, rememberingEnds } from './name.js'

describe('the name of a codec', () => {
  test('is its parts, with defaults for options that it leaves away', () => {
    const int8 = { name: 'int8', outliers: 0, rounding: 'stochastic' }
    expect(readCodecName('int8')).toEqual({ parts: { history: null, choice: null, numbers: int8, bytes: null } })
    expect(readCodecName('topk:share=0.25+int4:outliers=4:group=64+zstd:level=1')).toEqual({
      parts: {
        history: null,
        choice: { name: 'topk', share: 0.25, random: 0.1 },
        numbers: { name: 'int4', outliers: 4, group: 64, rounding: 'stochastic' },
        bytes: { name: 'zstd', level: 1 },
      },
    })
  })

  test('may begin with what is remembered', () => {
    const history = (name: string): unknown => {
      const read = readCodecName(name)
      return 'parts' in read ? read.parts.history : read.problem
    }
    expect(history('lowrank:rank=8+int8')).toEqual({ name: 'lowrank', rank: 8 })
    expect(history('reuse+int4')).toEqual({ name: 'reuse', threshold: 0.98, control: 'on' })
    expect(history('reuse:threshold=0.9:control=off+int4')).toEqual({ name: 'reuse', threshold: 0.9, control: 'off' })
    expect(readCodecName('reuse+int4', 'gradients')).toEqual({ problem: expect.stringContaining('reuse is for activations') })
    expect(readCodecName('delta+int4', 'gradients')).toHaveProperty('parts')
  })

  test.each([
    ['delta+topk+int8+zstd', 'topk+int8+zstd'],
    ['reuse:threshold=0.9+int4', 'int4'],
    ['int4+zstd', 'int4+zstd'],
  ])('%s is %s without its memory', (name, rest) => {
    expect(nameWithoutHistory(name)).toBe(rest)
  })

  test('tells who remembers rows', () => {
    expect(['int8', 'feedback+int8', 'delta+int8', 'reuse+int8', 'lowrank+int8+zstd'].map(rememberingEnds)).toEqual([
      ...['none', 'encoder', 'both', 'both', 'both'],
    ])
  })

  test.each(PART_NAMES)('may begin with %s', (name) => {
    const rest = ['delta', 'lowrank', 'reuse', 'feedback', 'topk'].includes(name) ? '+int8' : ''
    expect(readCodecName(name === 'zstd' ? 'int8+zstd' : name + rest)).toHaveProperty('parts')
  })

  test.each([
    ['', 'no codec called ""'],
    ['int9', 'no codec called "int9"; there are delta, lowrank, reuse, feedback, topk, fp32'],
    ['constructor', 'no codec called "constructor"'],
    [`int8+zstd:level=${'0'.repeat(256)}3`, 'at most 256 characters, and this has 273'],
    ['int8+', 'no codec called ""'],
    ['zstd+int8', 'int8 cannot stand there: first delta or lowrank or reuse or feedback if at all, then topk if at all, then fp32 or fp16'],
    ['int8+int4', 'int4 cannot stand there'],
    ['int8+delta', 'delta cannot stand there'],
    ['delta', 'does not say how numbers are packed'],
    ['delta+reuse+int8', 'reuse cannot stand there'],
    ['lowrank+topk+int8', 'lowrank and topk cannot be joined'],
    ['lowrank:rank=0+int8', 'is not written as lowrank is, with rank=1 to 1024'],
    ['reuse:threshold=1.5+int8', 'threshold=0 to 1'],
    ['topk', 'does not say how numbers are packed'],
    ['zstd', 'does not say how numbers are packed'],
    ['fp16:group=4', '"fp16:group=4" is not written as fp16 is, with no options'],
    ['int8:group', 'is not written as int8 is, with group=1 to 65536'],
    ['int8:group=0', 'is not written'],
    ['int8:group=4=5', 'is not written'],
    ['int8:group=4:group=5', 'is not written'],
    ['int8:group=1e3', 'is not written'],
    ['int8:name=int4', 'is not written'],
    ['topk:share=0+int8', 'share=0 to 1'],
    ['topk:share=1.5+int8', 'share=0 to 1'],
    ['topk:random=0.6+int8', 'is not written'],
    ['int8+zstd:level=20', 'level=1 to 19'],
  ])('is not "%s"', (name, problem) => {
    expect(readCodecName(name)).toEqual({ problem: expect.stringContaining(problem) })
  })

  test('names its parts without their options', () => {
    expect(partNames('topk:share=0.25+later:x=1+zstd')).toEqual(['topk', 'later', 'zstd'])
  })
})

test.each([
  ['fp32', 'fp32'],
  ['delta+fp32+zstd', 'fp32+zstd'],
  ['fp16', 'fp16'],
  ['int4+zstd', 'fp16'],
  ['topk+fp32', 'fp16'],
  ['reuse+int8', 'fp16'],
])('of %s, evaluations travel as %s', (name, evaluation) => {
  expect(evaluationName(name)).toBe(evaluation)
})
