import { describe, expect, test } from 'vitest'
import { AUTO_LADDER } from './ladder.js'
import { allCodecs, clientsNamed, codecProblem, firstCodecs, possibleCodecs, settingOf } from './setting.js'

const byClient = { default: 'int8', 'client-3': 'int4+zstd', 'client-4': 'auto' }

describe("a direction's codec", () => {
  test('is one for all clients, or by client with a default for the others', () => {
    expect(settingOf('int8', 'client-3')).toBe('int8')
    expect(['client-3', 'client-0', 'constructor'].map((client) => settingOf(byClient, client))).toEqual(['int4+zstd', 'int8', 'int8'])
    expect([clientsNamed('int8'), clientsNamed(byClient)]).toEqual([[], ['client-3', 'client-4']])
  })

  test('is any of the ladder where the link decides, the safest first', () => {
    const ladder = AUTO_LADDER.map(({ gradients }) => gradients.codec)
    expect(possibleCodecs(byClient, 'client-4', 'gradients')).toEqual(ladder)
    expect(possibleCodecs(byClient, 'client-3', 'gradients')).toEqual(['int4+zstd'])
    expect(firstCodecs({ activation_codec: 'auto', gradient_codec: byClient }, 'client-3')).toEqual({
      activations: AUTO_LADDER[0].activations.codec,
      gradients: 'int4+zstd',
    })
    expect(new Set(allCodecs(byClient, 'gradients'))).toEqual(new Set(['int8', 'int4+zstd', ...ladder]))
  })

  test('is checked by name, and auto is none to be joined', () => {
    expect(codecProblem('auto', 'gradients')).toBeNull()
    expect(codecProblem('reuse+int8', 'activations')).toBeNull()
    expect(codecProblem('reuse+int8', 'gradients')).toContain('reuse is for activations')
    expect(codecProblem('delta+auto', 'activations')).toContain('no codec called "auto"')
  })
})
