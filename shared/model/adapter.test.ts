import { describe, expect, test } from 'vitest'
import {
  adapterParameters,
  adapterShapes,
  checkAdapter,
  fromPeftKey,
  initialAdapter,
  parseLoraName,
  scaleOf,
  toPeftKey,
} from './adapter.js'
import type { LinearModule } from './families/family.js'

const modules: LinearModule[] = [0, 1, 2, 3].map((block) => ({ path: `transformer.h.${block}.attn.c_attn`, in: 768, out: 2304 }))

describe('the scale', () => {
  test('is alpha over r, and alpha over the root of r with rsLoRA', () => {
    expect(scaleOf({ r: 16, alpha: 8, useRslora: false })).toBe(0.5)
    expect(scaleOf({ r: 16, alpha: 8, useRslora: true })).toBe(2)
  })
})

describe('names', () => {
  test('PEFT keys and names in memory differ by the prefix', () => {
    expect(toPeftKey('transformer.h.0.attn.c_attn.lora_A.weight')).toBe('base_model.model.transformer.h.0.attn.c_attn.lora_A.weight')
    expect(fromPeftKey('base_model.model.x.lora_B.weight')).toBe('x.lora_B.weight')
    expect(fromPeftKey('x.lora_B.weight')).toBeNull()
  })
  test('a name tells its module and matrix, or that it is no LoRA tensor', () => {
    expect(parseLoraName('h.0.c_fc.lora_A.weight')).toEqual({ path: 'h.0.c_fc', matrix: 'A' })
    expect(parseLoraName('h.0.c_fc.lora_B.weight')).toEqual({ path: 'h.0.c_fc', matrix: 'B' })
    for (const name of ['h.0.c_fc.weight', 'h.0.c_fc.lora_B.bias', 'h.0.c_fc.lora_magnitude_vector', '.lora_A.weight'])
      expect(parseLoraName(name)).toBeNull()
  })
})

describe('a new adapter', () => {
  test('has A uniform within 1/sqrt(in), and B zero', () => {
    const adapter = initialAdapter(modules, { r: 8, seed: 1, init: true })
    const a = adapter.get('transformer.h.0.attn.c_attn.lora_A.weight')!
    expect(a.shape).toEqual([8, 768])
    const bound = 1 / Math.sqrt(768)
    expect(Math.max(...a.data.map(Math.abs))).toBeLessThanOrEqual(Math.fround(bound))
    // A uniform variable in +-b has the variance b^2 / 3; 6144 values know it to about 1%.
    const variance = a.data.reduce((sum, value) => sum + value * value, 0) / a.data.length
    expect(variance / (bound * bound)).toBeCloseTo(1 / 3, 1)
    const b = adapter.get('transformer.h.0.attn.c_attn.lora_B.weight')!
    expect(b.shape).toEqual([2304, 8])
    expect(b.data.every((value) => value === 0)).toBe(true)
  })
  test('has A normal with deviation 1/r when gaussian', () => {
    const a = initialAdapter(modules, { r: 4, seed: 1, init: 'gaussian' }).get('transformer.h.3.attn.c_attn.lora_A.weight')!
    const deviation = Math.sqrt(a.data.reduce((sum, value) => sum + value * value, 0) / a.data.length)
    expect(deviation).toBeCloseTo(1 / 4, 1)
    expect(Math.max(...a.data.map(Math.abs))).toBeGreaterThan(0.5) // two deviations: no uniform of that variance gets there
  })
  test('is the same for a module whichever others there are, and differs between modules and seeds', () => {
    const whole = initialAdapter(modules, { r: 8, seed: 1, init: true })
    const upper = initialAdapter(modules.slice(2), { r: 8, seed: 1, init: true })
    for (const [name, tensor] of upper) expect(whole.get(name)).toEqual(tensor)
    const first = whole.get('transformer.h.0.attn.c_attn.lora_A.weight')!
    expect(whole.get('transformer.h.1.attn.c_attn.lora_A.weight')!.data).not.toEqual(first.data)
    expect(initialAdapter(modules, { r: 8, seed: 2, init: true }).get('transformer.h.0.attn.c_attn.lora_A.weight')!.data).not.toEqual(
      first.data,
    )
  })
  test('counts its parameters', () => {
    // GPT-2 small has 12 such layers, for which PEFT reports 294,912 trainable parameters at r 8.
    const twelve = Array.from({ length: 12 }, (_, block) => ({ ...modules[0], path: `h.${block}` }))
    expect(adapterParameters(initialAdapter(twelve, { r: 8, seed: 1, init: true }))).toBe(294912)
  })
})

describe('the check against a model', () => {
  const shapes = (): Map<string, { shape: readonly number[] }> =>
    new Map([...adapterShapes(modules, 4)].map(([name, shape]) => [name, { shape }]))
  const expectMismatch = (adapter: Map<string, { shape: readonly number[] }>, why: RegExp): void =>
    expect(() => checkAdapter(adapter, modules, 4, 'client-1')).toThrowError(
      expect.objectContaining({ code: 'ADAPTER_MISMATCH', what: expect.stringContaining('client-1'), why: expect.stringMatching(why) }),
    )
  test('passes what fits', () => {
    checkAdapter(shapes(), modules, 4, 'client-1')
  })
  test('names a missing tensor', () => {
    const adapter = shapes()
    adapter.delete('transformer.h.2.attn.c_attn.lora_B.weight')
    expectMismatch(adapter, /1 tensors are missing: transformer\.h\.2\.attn\.c_attn\.lora_B\.weight/)
  })
  test('names an unexpected tensor', () => {
    expectMismatch(shapes().set('lm_head.lora_A.weight', { shape: [4, 768] }), /unexpected: lm_head\.lora_A\.weight/)
  })
  test('names a tensor of another shape, and both shapes', () => {
    expectMismatch(
      shapes().set('transformer.h.1.attn.c_attn.lora_A.weight', { shape: [8, 768] }),
      /h\.1\..*lora_A\.weight is \[8, 768\] where \[4, 768\]/,
    )
  })
  test('does not print hundreds of names', () => {
    expectMismatch(new Map(), /8 tensors are missing: .* and 3 more/)
  })
})
