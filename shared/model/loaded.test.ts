import { describe, expect, test } from 'vitest'
import { LoraGroup, SplitGroup } from '../config/groups.js'
import { checkSameModel, cutOfRun, loraOfRun, modelCardOf, weightsOfSides, type LoadedModel } from './loaded.js'
import { openGolden } from './testing/golden.js'

const { model: definition } = openGolden('gpt2')
const model: LoadedModel = {
  definition,
  architecture: definition.family.architecture(definition.config),
  name: 'golden',
  digest: {
    model: 'a'.repeat(64),
    tensors: new Map([...definition.family.tensors(definition.config).keys()].map((name) => [name, `digest of ${name}`])),
  },
  parameters: 0,
}
const lora = (keys: object) => loraOfRun(model, LoraGroup.parse(keys))

describe('the LoRA of a run', () => {
  test("stands on the family's default targets where the config names none, scaled by alpha / r", () => {
    const { modules, config, setting } = lora({ r: 4, lora_alpha: 16 })
    expect(setting.paths).toEqual([0, 1, 2, 3].map((block) => `transformer.h.${block}.attn.c_attn`))
    expect(modules[0]).toMatchObject({ in: 32, out: 96 })
    expect(setting.scale).toBe(4)
    expect(config).toMatchObject({ targetModules: ['c_attn'], fanInFanOut: true })
  })

  test('on all-linear stands on every linear layer, and is written as the names of those', () => {
    const { setting, config } = lora({ target_modules: 'all-linear' })
    expect(setting.paths).toHaveLength(4 * 4)
    expect(config.targetModules).toEqual(['c_attn', 'c_proj', 'c_fc'])
  })

  test('with rsLoRA is scaled by alpha / sqrt(r)', () => {
    expect(lora({ r: 4, lora_alpha: 16, use_rslora: true }).setting.scale).toBe(8)
  })

  test('is refused on a target that the model lacks', () => {
    expect(() => lora({ target_modules: ['q_proj'] })).toThrow(expect.objectContaining({ code: 'TARGET_MATCHES_NOTHING' }))
  })
})

describe('the cut of a run', () => {
  test("is the config's, up to the last block; a centralized run has none", () => {
    expect(cutOfRun(model, SplitGroup.parse({ cut_layer: 4 }))).toBe(4)
    expect(cutOfRun(model, SplitGroup.parse({ cut_layer: 4, topology: 'centralized' }))).toBeNull()
    expect(() => cutOfRun(model, SplitGroup.parse({ cut_layer: 5 }))).toThrow(expect.objectContaining({ code: 'CUT_OUT_OF_RANGE' }))
  })

  test('divides the weights between the sides: both together hold all, and only a tied head is on both', () => {
    const { bottom, top } = weightsOfSides(definition, 2)
    expect(new Set([...bottom, ...top])).toEqual(new Set(definition.family.tensors(definition.config).keys()))
    expect(bottom.filter((name) => top.includes(name))).toEqual(['transformer.wte.weight'])
  })

  test('that there is none of leaves the server without weights', () => {
    expect(weightsOfSides(definition, null).top).toEqual([])
  })
})

describe("a client compares its model with the server's", () => {
  const names = weightsOfSides(definition, 2).bottom
  const card = modelCardOf(model)
  const withOther = (name: string) => ({ ...card, digest: 'b'.repeat(64), tensors: { ...card.tensors, [name]: 'another' } })

  test('and goes on with the same one, and with one that differs only in tensors that it does not use', () => {
    expect(() => checkSameModel(model, card, names)).not.toThrow()
    expect(() => checkSameModel(model, withOther('transformer.h.3.ln_1.bias'), names)).not.toThrow()
  })

  test.each(['transformer.h.0.ln_1.bias', 'transformer.wte.weight'])('and stops where %s differs, which it uses', (name) => {
    expect(() => checkSameModel(model, withOther(name), names)).toThrow(
      expect.objectContaining({ code: 'MODEL_DIGEST_DIFFERS', why: expect.stringContaining(name) }),
    )
  })

  test('and stops where the server has no such tensor', () => {
    const { 'transformer.wpe.weight': _, ...tensors } = card.tensors
    expect(() => checkSameModel(model, { ...card, digest: 'b'.repeat(64), tensors }, names)).toThrow(/transformer\.wpe\.weight/)
  })
})
