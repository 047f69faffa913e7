/**
 * @file What the protocol's page says of a schema's type: how a value of it crosses the wire.
 */
import { z } from 'zod'
import { unreachable } from '../../shared/errors.js'
import { isList, isNumbered } from '../../shared/protocol/positional.js'

/** Whether fields travel by their places, as in messages, chunks and acks, or by their names, as in the frames that open and close a link. */
export type Form = 'places' | 'names'

/** Schemas that have tables of their own. A description makes a new schema of the same definition, so that is what is compared. */
export type NamedTypes = ReadonlyMap<z.core.$ZodTypeDef, string>

export function namedTypes(schemas: Readonly<Record<string, z.ZodType>>): NamedTypes {
  return new Map(Object.entries(schemas).map(([name, schema]) => [schema._zod.def, name]))
}

/** `whole number from 1`, `list CodedTensor or nil`: in Markdown. */
export function typeText(schema: z.core.$ZodType, form: Form, named: NamedTypes): string {
  const inner = (part: z.core.$ZodType): string => typeText(part, form, named)
  const name = named.get(schema._zod.def)
  if (name !== undefined) return `[${name}](#${name.toLowerCase().replaceAll(' ', '-')})`
  if (schema instanceof z.ZodNullable) return `${inner(schema.unwrap())} or nil`
  if (schema instanceof z.ZodNumber) return numberText(schema)
  if (schema instanceof z.ZodBoolean) return 'boolean'
  if (schema instanceof z.ZodString) return schema.maxLength === null ? 'string' : `string of at most ${schema.maxLength} characters`
  if (schema instanceof z.ZodArray) return `list, each ${inner(schema.element)}`
  if (schema instanceof z.ZodRecord) return `map, each ${inner(schema.valueType)}`
  if (schema instanceof z.ZodEnum) return wordsText(schema, form)
  if (schema instanceof z.ZodObject) return objectText(schema, form)
  if (schema instanceof z.ZodLiteral) return `\`${String(schema.value)}\``
  // `z.instanceof(Uint8Array)`: there is no other class in the protocol.
  if (schema instanceof z.ZodCustom) return 'bytes'
  return unreachable(`a schema of kind ${schema._zod.def.type} in the protocol`)
}

/** An object whose fields stand in the table of what holds it; null for any other. */
export function inlineObject(schema: z.core.$ZodType, form: Form, named: NamedTypes): z.ZodObject | null {
  if (named.has(schema._zod.def)) return null
  if (schema instanceof z.ZodNullable) return inlineObject(schema.unwrap(), form, named)
  if (schema instanceof z.ZodRecord) return inlineObject(schema.valueType, form, named)
  return schema instanceof z.ZodObject && (form === 'names' || isList(schema)) ? schema : null
}

function numberText(schema: z.ZodNumber): string {
  const { type, ...bounds } = z.toJSONSchema(schema)
  const isWhole = type === 'integer'
  // Whole numbers have the bounds of what JavaScript can tell apart, which say nothing.
  const told = (bound: unknown): number | null => (typeof bound === 'number' && Math.abs(bound) < Number.MAX_SAFE_INTEGER ? bound : null)
  const [least, above, most] = [told(bounds.minimum), told(bounds.exclusiveMinimum), told(bounds.maximum)]
  const from = isWhole && above !== null ? above + 1 : least
  const fromText = from !== null ? ` from ${from}` : above !== null ? ` above ${above}` : ''
  return `${isWhole ? 'whole number' : 'number'}${fromText}${most === null ? '' : ` to ${most}`}`
}

function wordsText(schema: z.ZodEnum, form: Form): string {
  if (!isNumbered(schema)) return `string, one of ${schema.options.length} words`
  const words = schema.options.map((word, place) => (form === 'places' ? `${place} \`${word}\`` : `\`${word}\``))
  return words.join(' or ')
}

function objectText(schema: z.ZodObject, form: Form): string {
  if (form === 'places' && isList(schema)) return 'list'
  const keys = Object.keys(schema.shape).map((key) => `\`${key}\``)
  return form === 'names' ? 'map' : `map with ${keys.join(', ') || 'nothing'}`
}
