import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ClientMessage, PROTOCOL_VERSION, ServerMessage } from '../../shared/protocol/messages.js'
import { decodeMask, encodeMask } from '../../shared/protocol/mask.js'
import { positional } from '../../shared/protocol/positional.js'
import { encodeVarints } from '../../shared/protocol/varints.js'
import { renewedPage } from './page.js'
import { generatedParts } from './tables.js'
import { namedTypes, typeText } from './types.js'

const project = new URL('../../', import.meta.url)
const read = (path: string): Promise<string> => readFile(new URL(path, project), 'utf8')

describe('the page of the protocol', () => {
  test('has the tables that the schemas make: `npm run protocol-page` renews them', async () => {
    const page = await read('shared/protocol/README.md')
    expect(page).toBe(renewedPage(page))
  })

  test('is not renewed where it lacks a table', () => {
    expect(() => renewedPage('no places')).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }))
  })

  test('tells of the version that its example speaks', async () => {
    expect(await read('shared/protocol/examples/client.py')).toContain(`\nPROTOCOL_VERSION = ${PROTOCOL_VERSION}\n`)
  })

  test('gives each message the number, and each field the place, that it has on the wire', () => {
    const parts = generatedParts()
    expect(placesOf(parts['client-messages'])).toContain('10 offer: 1 round, 2 attempt, 3 step, 4 micro, 5 purpose, 6 tokens')
    expect(placesOf(parts['server-messages'])).toContain('6 dropped: 1 round, 2 attempt, 3 step, 4 reason, 5 next_step')
    const offer = { type: 'offer', round: 1, attempt: 2, step: 3, micro: 4, purpose: 'evaluate', tokens: 6 } as const
    expect(positional(ClientMessage).strip(offer)).toEqual([10, 1, 2, 3, 4, 1, 6])
    const dropped = { type: 'dropped', round: 1, attempt: 2, step: 3, reason: 'late', next_step: null } as const
    expect(positional(ServerMessage).strip(dropped)).toEqual([6, 1, 2, 3, 'late', null])
  })

  test('says what every field of a message is, or has a name that says it', () => {
    const silent = Object.values(generatedParts())
      .flatMap((part) => part.split('\n'))
      .flatMap((line) => /^\| .*`([^`]+)` \| [^|]+ \| {2}\|$/.exec(line)?.[1] ?? [])
    expect([...new Set(silent)].sort()).toEqual(SELF_EXPLAINING)
  })

  test('has examples that are so', () => {
    expect([...encodeVarints([300])]).toEqual([0xac, 0x02])
    const flags = [0, 0, 1, 1, 1]
    for (const bytes of [Uint8Array.of(1, 2), Uint8Array.of(0, 0x1c)]) expect([...decodeMask(bytes, 5)]).toEqual(flags)
    expect([...encodeMask(Uint8Array.from(flags))]).toEqual([1, 2])
  })
})

test.each([
  [z.int().positive(), 'whole number from 1'],
  [z.int().min(3).max(9), 'whole number from 3 to 9'],
  [z.int(), 'whole number'],
  [z.number().positive().max(2), 'number above 0 to 2'],
  [z.number().nonnegative().nullable(), 'number from 0 or nil'],
  [z.record(z.string(), z.array(z.string().max(5))), 'map, each list, each string of at most 5 characters'],
  [z.enum(['up', 'down']), '0 `up` or 1 `down`'],
  [z.object({ a: z.int() }), 'list'],
  [z.object({ a: z.int().default(1), b: z.int() }), 'map with `a`, `b`'],
  [z.instanceof(Uint8Array).describe('some'), 'bytes'],
])('a type is told in words: %#', (schema, text) => {
  expect(typeText(schema, 'places', namedTypes({}))).toBe(text)
})

/** Fields without a description. */
const SELF_EXPLAINING = [
  'capabilities',
  'data',
  'deadlines',
  'eval',
  'federation',
  'limits',
  'lora',
  'messages',
  'model',
  'privacy',
  'purpose',
  'reason',
  'seconds',
  'sha256',
  'shape',
  'split',
  'train',
  'transport',
  'type',
  'outcome',
].sort()

/** `10 offer: 1 round, 2 attempt` of each message. */
function placesOf(part: string): string[] {
  return part.split('#### ').map((section) => {
    const fields = [...section.matchAll(/^\| (\d+) \| `([^`]+)` \|/gm)].map(([, place, name]) => `${place} ${name}`)
    return `${section.split('\n')[0].replaceAll('`', '')}: ${fields.join(', ')}`
  })
}
