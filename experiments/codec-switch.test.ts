/**
 * @file Both ends of a cut whose codecs change from round to round: what they remember of rows goes with the codec that remembered it.
 */
import { describe, expect, test } from 'vitest'
import { NamedCut } from '../client/named-cut.js'
import { ClientCuts, openCodecBook } from '../server/client-cuts.js'
import { Config } from '../shared/config/schema.js'
import type { CutCodecNames } from '../shared/protocol/codec/setting.js'
import type { ServerCut } from '../shared/protocol/cut/server-cut.js'
import { decodeVarints } from '../shared/protocol/varints.js'
import { derive } from '../shared/random.js'
import { f32 } from '../shared/tensor.js'
import { activations } from './testing/activations.js'

const SHAPE = [5, 16] as const
const ROWS = { numbers: [4, 9], lengths: Int32Array.of(2, 3) }
const PLENTY = 2 ** 20
const DELTA: CutCodecNames = { activations: 'delta+int8', gradients: 'delta+int8' }
const LOWRANK: CutCodecNames = { activations: 'lowrank+int8', gradients: 'feedback+int8' }
const REUSE: CutCodecNames = { activations: 'reuse+int8+zstd', gradients: 'delta+int8' }
const FEEDBACK: CutCodecNames = { activations: 'feedback+int8', gradients: 'lowrank+int8' }
const PLAIN: CutCodecNames = { activations: 'int8', gradients: 'int8' }

async function openEnds() {
  const all = [DELTA, LOWRANK, REUSE, FEEDBACK, PLAIN]
  const byName = (names: readonly string[]) => Object.fromEntries([['default', 'fp32'], ...names.map((name, index) => [`c${index}`, name])])
  const config = Config.parse({
    transport: {
      activation_codec: byName(all.map(({ activations: name }) => name)),
      gradient_codec: byName(all.map(({ gradients }) => gradients)),
    },
  })
  const server = new ClientCuts(await openCodecBook(config), PLENTY)
  const client = new NamedCut(config.lora.r, PLENTY)
  let step = 0
  return {
    server,
    client,
    async tell(names: CutCodecNames, isHeard = true): Promise<void> {
      server.use('client-0', names)
      if (isHeard) await client.use(names)
    },
    /** One exchange of rows that hardly change. */
    cross(): { readonly resyncs: number; readonly against: number[]; readonly error: number } {
      const hidden = f32(
        [...SHAPE],
        Float32Array.from({ length: 80 }, (_, place) => Math.sin(place) + 0.001 * step),
      )
      const pack = () => activations({ step, ...client.current.pack(hidden, ROWS, derive(step, 'activations')) })
      const read = (message: ReturnType<typeof pack>): ReturnType<ServerCut['read']> =>
        server.of('client-0').read(message, ROWS.lengths, SHAPE)
      step++
      let message = pack()
      let got = read(message)
      const resyncs = got ? 0 : 1
      if (!got) {
        client.current.forget()
        message = pack()
        got = read(message)
      }
      got!.keep()
      const answer = server.of('client-0').answer(hidden, got!.rows, derive(step, 'gradients'))
      const gradient = client.current.read(answer, SHAPE)
      const apart = [got!.values, gradient].map((values) => Math.max(...values.map((value, place) => Math.abs(value - hidden.data[place]))))
      return { resyncs, against: message.rows.length === 0 ? [] : [...decodeVarints(message.rows)], error: Math.max(...apart) }
    },
  }
}

/** Of int8 on numbers up to 1, whatever stands before it. */
const MOST_ERROR = 2 / 127

describe('codecs that remember rows', () => {
  test('go on from round to round while they stay the same', async () => {
    const ends = await openEnds()
    await ends.tell(DELTA)
    ends.cross()
    const cut = ends.client.current
    await ends.tell(DELTA)
    expect(ends.client.current).toBe(cut)
    // Message 2; of each row its number, that it is told against the message before, and that the client holds its gradient of then.
    expect(ends.cross()).toMatchObject({ resyncs: 0, against: [2, 4, 1, 1, 9, 1, 1] })
  })

  test.each([
    ['plain and back', PLAIN],
    ['lowrank and feedback, and back', LOWRANK],
    ['reuse and back', REUSE],
    ['feedback and lowrank, and back', FEEDBACK],
  ])('begin with nothing after a change to %s, and nobody asks for anything again', async (_, other) => {
    const ends = await openEnds()
    for (const names of [DELTA, other, DELTA]) {
      await ends.tell(names)
      const first = ends.cross()
      if (names === DELTA) expect(first.against).toEqual([1, 4, 0, 0, 9, 0, 0])
      for (const { resyncs, error } of [first, ends.cross(), ends.cross()]) {
        expect(resyncs).toBe(0)
        expect(error).toBeLessThan(MOST_ERROR)
      }
    }
  })

  test('are asked for whole, once, by a server that changed them there and back in rounds which the client missed', async () => {
    const ends = await openEnds()
    await ends.tell(DELTA)
    ends.cross()
    await ends.tell(PLAIN, false)
    await ends.tell(DELTA)
    expect([ends.cross(), ends.cross()].map(({ resyncs }) => resyncs)).toEqual([1, 0])
  })

  test('are forgotten on both ends with the process that remembered', async () => {
    const ends = await openEnds()
    await ends.tell(DELTA)
    ends.cross()
    ends.server.forget('client-0')
    const next = new NamedCut(8, PLENTY)
    await next.use(DELTA)
    const hidden = f32([...SHAPE], new Float32Array(80))
    const message = activations(next.current.pack(hidden, ROWS, null))
    expect(ends.server.of('client-0').read(message, ROWS.lengths, SHAPE)).not.toBeNull()
  })
})

test('a server that names no codec, or one that there is not, is refused by name', async () => {
  const cut = new NamedCut(8, PLENTY)
  expect(() => cut.current).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
  await expect(cut.use(null)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
  await expect(cut.use({ activations: 'auto', gradients: 'fp16' })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
})
