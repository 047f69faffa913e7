import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { KNOWN_KEYS } from '../shared/config/known-keys.js'
import { packageRoot } from '../shared/version.node.js'
import { configSchema, schemaCommand } from './schema.js'
import { readSweep } from './sweep/plan.js'
import { typeCommand, typeForScript } from './testing/type.js'

const CONFIGS = join(packageRoot(), 'experiments', 'configs')
/** The printed text, read back as whoever has only that would read it. */
const printed = JSON.parse(JSON.stringify(configSchema())) as z.core.JSONSchema.JSONSchema
const check = z.fromJSONSchema(printed)

const files = readdirSync(CONFIGS).filter((file) => file.endsWith('.yaml'))
const read = (file: string): unknown => parse(readFileSync(join(CONFIGS, file), 'utf8'))
const isSweep = (file: string): boolean => Object.hasOwn(read(file) as object, 'settings')

test.each(files.filter((file) => !isSweep(file)))('the shipped config %s is valid by it', (file) => {
  expect(check.safeParse(read(file)).error).toBeUndefined()
})

test.each(files.filter(isSweep))('all settings of the shipped sweep %s are valid', async (file) => {
  const { settings } = await readSweep(join(CONFIGS, file))
  expect(settings.length).toBeGreaterThan(1)
})

describe('what a config may say', () => {
  test.each([
    ['nothing', {}],
    ['a group with nothing in it', { train: null }],
    ['a value of each kind', { model: { threads: null }, lora: { target_modules: ['c_attn'], use_rslora: true }, train: { optim: 'sgd' } }],
    ['a list of seeds', { train: { seed: [1, 2, 3] } }],
  ])('%s', (_, config) => {
    expect(check.safeParse(config).success).toBe(true)
  })

  test.each([
    ['a group that there is none of', { trains: {} }],
    ['an unknown key', { train: { lr: 1 } }],
    ['a number that is too small', { lora: { r: 0 } }],
    ['a fraction where a whole number belongs', { lora: { r: 1.5 } }],
    ['no seed at all', { train: { seed: [] } }],
    ['text for a number', { train: { learning_rate: 'fast' } }],
    ['a word that is none of the choices', { federation: { top: 'shared' } }],
  ])('not %s', (_, config) => {
    expect(check.safeParse(config).success).toBe(false)
  })
})

test('every group and key is described, and has its default', () => {
  expect(Object.keys(printed.properties!)).toEqual([...KNOWN_KEYS.keys()])
  for (const [group, keys] of KNOWN_KEYS) {
    const schema = printed.properties![group] as z.core.JSONSchema.JSONSchema
    expect(schema.description).toMatch(/\.$/)
    for (const key of keys)
      expect(schema.properties![key], `${group}.${key}`).toMatchObject({ description: expect.stringMatching(/\.$/) as string })
  }
  expect(printed).toMatchObject({ properties: { lora: { properties: { r: { default: 8 } } } } })
})

test('the program prints it as text, and as the data of its envelope', async () => {
  expect(JSON.parse((await typeCommand([schemaCommand], 'schema')).stdout)).toEqual(printed)
  expect(await typeForScript([schemaCommand], 'schema')).toMatchObject({ status: 'ok', data: printed })
})
