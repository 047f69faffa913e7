/**
 * @file `cutlayer schema`: the config as a JSON Schema, for editors and scripts.
 */
import { z } from 'zod'
import { defineCommand } from '../shared/command-line/index.node.js'
import { ConfigFile } from '../shared/config/seeds.js'
import { GROUP_DESCRIPTIONS, KEY_DESCRIPTIONS } from './schema-descriptions.js'

/** Keywords by name; plain JSON. */
export type JsonSchema = Readonly<Record<string, unknown>>

export const schemaCommand = defineCommand({
  usage: 'schema',
  summary: 'print the JSON Schema of configs',
  example: 'cutlayer schema > cutlayer.schema.json\ncutlayer schema --format json',
  options: z.object({}),
  async run() {
    const schema = configSchema()
    return { data: schema, text: JSON.stringify(schema, null, 2) }
  },
})

/**
 * JSON Schema (draft 2020-12) of what a config file may say: every key may be left out, and a group may be empty.
 *
 * What is planned but not built is not in it. The rules between keys are not either: `cutlayer validate` knows them.
 */
export function configSchema(): JsonSchema {
  const schema = z.toJSONSchema(ConfigFile, { io: 'input' })
  const groups = Object.entries(schema.properties as Readonly<Record<string, JsonSchema>>)
  const described = groups.map(([name, group]) => [name, describeGroup(name as keyof typeof GROUP_DESCRIPTIONS, group)])
  return { ...schema, title: 'cutlayer config', properties: Object.fromEntries(described) as unknown }
}

function describeGroup(name: keyof typeof GROUP_DESCRIPTIONS, group: JsonSchema): JsonSchema {
  const descriptions: Readonly<Record<string, string>> = KEY_DESCRIPTIONS[name]
  const keys = Object.entries(group.properties as Readonly<Record<string, JsonSchema>>)
  return {
    ...group,
    description: GROUP_DESCRIPTIONS[name],
    // `train:` with nothing under it is null in YAML, and means all defaults.
    type: ['object', 'null'],
    properties: Object.fromEntries(keys.map(([key, value]) => [key, { description: descriptions[key], ...value }])),
  }
}
