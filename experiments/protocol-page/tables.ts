/**
 * @file The tables of the protocol's page: every message, frame and type in them, as Markdown made from the schemas.
 */
import { z } from 'zod'
import { ClientConfig } from '../../shared/config/schema.js'
import { ERROR_CODES, unreachable } from '../../shared/errors.js'
import { Attached, Chunk, Closed, Held, Opening, RefusedOpening } from '../../shared/protocol/frames.js'
import { LinkLimits } from '../../shared/protocol/limits.js'
import {
  ClientMessage,
  CodedMoments,
  CodedTensor,
  Failure,
  ModelCard,
  Part,
  PROTOCOL_VERSION,
  ServerMessage,
} from '../../shared/protocol/messages.js'
import { fieldsThatCross } from '../../shared/protocol/positional.js'
import { inlineObject, namedTypes, typeText, type Form, type NamedTypes } from './types.js'

const [Hello] = ClientMessage.options
/** In messages, whose fields go by their places. */
const TYPES = { CodedTensor, CodedMoments, ModelCard, ClientConfig, Part, Failure }
/** In frames, whose fields go by their names. */
const FRAME_TYPES = { 'Hello by names': Hello, 'Part by names': Part, 'Held by names': Held, LinkLimits, 'Failure by names': Failure }
const FRAMES = { '`hello`': Opening, '`attached`': Attached, '`refused`': RefusedOpening, '`closed`': Closed }

/** Everything that is generated, by the name of its place in the page. */
export function generatedParts(): Readonly<Record<string, string>> {
  const places = namedTypes(TYPES)
  const names = namedTypes(FRAME_TYPES)
  const sections = (schemas: Readonly<Record<string, z.ZodObject>>, form: Form, named: NamedTypes): string =>
    Object.entries(schemas)
      .map(([title, schema]) => section(title, schema, form, named))
      .join('\n')
  return {
    version: `The version that this page describes is **${PROTOCOL_VERSION}**.\n`,
    frames: sections({ ...FRAMES, ...FRAME_TYPES }, 'names', names),
    chunks: sections({ 'Fields of `chunk`': Chunk, 'Fields of `ack`': Held }, 'places', places),
    'client-messages': messages(ClientMessage.options, places),
    'server-messages': messages(ServerMessage.options, places),
    types: sections(TYPES, 'places', places),
    errors: table(
      ['code', 'number'],
      Object.entries(ERROR_CODES).map(([code, number]) => [`\`${code}\``, String(number)]),
    ),
  }
}

function messages(options: readonly z.ZodObject[], named: NamedTypes): string {
  return options.map((schema, place) => section(`${place} \`${typeOf(schema)}\``, schema, 'places', named, 1)).join('\n')
}

function typeOf({ shape }: z.ZodObject): string {
  return shape.type instanceof z.ZodLiteral ? String(shape.type.value) : unreachable('a message without a type')
}

/** @param first place of the first field. */
function section(title: string, schema: z.ZodObject, form: Form, named: NamedTypes, first = 0): string {
  const rows = rowsOf(schema, form, named, '', first)
  const heads = form === 'places' ? ['place', 'field', 'type', 'what it is'] : ['field', 'type', 'what it is']
  const about = schema.description === undefined ? [] : [schema.description, '']
  return [`#### ${title}`, '', ...about, ...(rows.length === 0 ? ['It has no fields.', ''] : [table(heads, rows)])].join('\n')
}

function rowsOf(schema: z.ZodObject, form: Form, named: NamedTypes, path: string, first: number): string[][] {
  const fields = form === 'places' ? fieldsThatCross(schema) : Object.entries(schema.shape)
  return fields.flatMap(([name, field], index) => {
    const place = `${path}${first + index}`
    const cells = [`\`${name}\``, typeText(field, form, named), z.globalRegistry.get(field)?.description ?? '']
    const inner = inlineObject(field, form, named)
    const rows = inner === null ? [] : rowsOf(inner, form, named, form === 'places' ? `${place}.` : '', 0)
    const within = rows.map((row) =>
      form === 'places' ? [row[0], `\`${name}\`.${row[1]}`, ...row.slice(2)] : [`\`${name}\`.${row[0]}`, ...row.slice(1)],
    )
    return [form === 'places' ? [place, ...cells] : cells, ...within]
  })
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(heads), `|${heads.map(() => '---').join('|')}|`, ...rows.map(line), ''].join('\n')
}
