/**
 * @file Values without the names of their fields: what both ends can read off the same schema does not cross the wire.
 *
 * An object is the list of its fields in the schema's order; a literal is left out; a message of a union is its place in it and then its fields; one of
 * a few words is its place among them.
 * Records keep their keys, which are data. An object that may lack fields, such as a group of the config, keeps its names, and so does whatever is
 * not one of these. So the order of fields and of messages is part of the protocol, as their names would be.
 */
import { z } from 'zod'
import { UserError, unreachable } from '../errors.js'

/** Longer lists of words, as that of error codes, grow without a new protocol: those cross as they are. */
const MOST_NUMBERED_WORDS = 8

export interface Positional<Value> {
  /** What the schema does not know is left out. */
  strip(value: Value): unknown
  /**
   * The inverse. What comes out is still to be parsed by the schema.
   * @throws UserError MESSAGE_INVALID if lists are not as long as the schema says.
   */
  restore(value: unknown): unknown
}

export function positional<Value>(schema: z.ZodType<Value>): Positional<Value> {
  return layoutOf(schema)
}

type Layout = Positional<unknown>

const asItIs: Layout = { strip: (value) => value, restore: (value) => value }

function layoutOf(schema: z.core.$ZodType): Layout {
  if (schema instanceof z.ZodDiscriminatedUnion) return unionLayout(schema.options, schema.def.discriminator)
  if (schema instanceof z.ZodObject) return isList(schema) ? objectLayout(schema) : asItIs
  if (schema instanceof z.ZodNullable) return nullableLayout(layoutOf(schema.unwrap()))
  if (schema instanceof z.ZodRecord) return recordLayout(layoutOf(schema.valueType))
  if (schema instanceof z.ZodEnum && isNumbered(schema)) return wordLayout(schema.options)
  return asItIs
}

/** Whether an object crosses as the list of its fields. */
export function isList(schema: z.ZodObject): boolean {
  return !hasOptional(schema)
}

/** Whether a word crosses as its place among those that there are. */
export function isNumbered(schema: z.ZodEnum): boolean {
  return schema.options.length <= MOST_NUMBERED_WORDS
}

/** The fields of a list that cross, in their order: all but literals. */
export function fieldsThatCross(schema: z.ZodObject): [string, z.core.$ZodType][] {
  return fieldsOf(schema).filter(([, field]) => !(field instanceof z.ZodLiteral))
}

function fieldsOf(schema: z.ZodObject): [string, z.core.$ZodType][] {
  return Object.entries(schema.shape)
}

/** Objects with optional fields, fields with defaults, or of fields not known beforehand. */
function hasOptional(schema: z.ZodObject): boolean {
  return schema.def.catchall !== undefined || fieldsOf(schema).some(([, field]) => field._zod.optin !== undefined)
}

function objectLayout(schema: z.ZodObject): Layout {
  const constants = new Map(fieldsOf(schema).flatMap(([name, field]) => (field instanceof z.ZodLiteral ? [[name, field.value]] : [])))
  const fields = fieldsThatCross(schema).map(([name, field]) => ({ name, layout: layoutOf(field) }))
  return {
    strip: (value) => (isMap(value) ? fields.map(({ name, layout }) => layout.strip(value[name])) : value),
    restore(value) {
      const values = listOf(value, fields.length)
      return Object.fromEntries([...constants, ...fields.map(({ name, layout }, index) => [name, layout.restore(values[index])] as const)])
    },
  }
}

function unionLayout(options: readonly z.core.$ZodType[], discriminator: string): Layout {
  const layouts = options.map((option) => layoutOf(option))
  const places = new Map<unknown, number>(
    options.map((option, place) => {
      const tag = option instanceof z.ZodObject ? (option.shape as Record<string, unknown>)[discriminator] : null
      return [tag instanceof z.ZodLiteral ? tag.value : unreachable(`a message without its ${discriminator}`), place]
    }),
  )
  return {
    strip(value) {
      const place = isMap(value) ? places.get(value[discriminator]) : undefined
      return place === undefined ? unreachable('a message of no known type') : [place, ...(layouts[place].strip(value) as unknown[])]
    },
    restore(value) {
      const [place, ...fields] = listOf(value)
      if (typeof place !== 'number' || !Object.hasOwn(layouts, place)) throw invalid('it is none of the messages that there are')
      return layouts[place].restore(fields)
    },
  }
}

function wordLayout(words: readonly unknown[]): Layout {
  return {
    strip: (value) => (words.includes(value) ? words.indexOf(value) : value),
    restore(value) {
      if (typeof value !== 'number' || !Object.hasOwn(words, value)) throw invalid('it is none of the words that there are')
      return words[value]
    },
  }
}

function nullableLayout(layout: Layout): Layout {
  return {
    strip: (value) => (value === null ? null : layout.strip(value)),
    restore: (value) => (value === null ? null : layout.restore(value)),
  }
}

function recordLayout(layout: Layout): Layout {
  const mapped = (value: unknown, change: (part: unknown) => unknown): unknown =>
    isMap(value) ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, change(part)])) : value
  return {
    strip: (value) => mapped(value, (part) => layout.strip(part)),
    restore: (value) => mapped(value, (part) => layout.restore(part)),
  }
}

function listOf(value: unknown, length?: number): unknown[] {
  if (!Array.isArray(value)) throw invalid('it has something else in place of a list of fields')
  if (length !== undefined && value.length !== length) throw invalid(`a list of ${value.length} fields is to have ${length}`)
  return value
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the other end sent what this one does not understand',
    why,
    fix: 'make sure that both ends run the same version of cutlayer',
  })
}
