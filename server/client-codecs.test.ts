import { beforeEach, describe, expect, test } from 'vitest'
import { Config } from '../shared/config/schema.js'
import { AUTO_LADDER } from '../shared/protocol/codec/ladder.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import { ClientCodecs } from './client-codecs.js'
import { ClientCuts, openCodecBook } from './client-cuts.js'

const SAFEST = { activations: AUTO_LADDER[0].activations.codec, gradients: AUTO_LADDER[0].gradients.codec }
const COARSEST = { activations: AUTO_LADDER.at(-1)!.activations.codec, gradients: AUTO_LADDER.at(-1)!.gradients.codec }
const FP32 = { up: 1_000_000, down: 1_000_000 }

let now = 0
let codecs: ClientCodecs
let cuts: ClientCuts
beforeEach(async () => {
  now = 0
  const config = Config.parse({
    transport: {
      activation_codec: { default: 'auto', fixed: 'int8' },
      gradient_codec: { default: 'auto', fixed: 'fp16' },
      codec_loss_budget: 1,
    },
  })
  cuts = new ClientCuts(await openCodecBook(config), 0)
  codecs = new ClientCodecs(config.transport, cuts, { now: () => now, after: () => () => {} })
})

function gradients(round: number, bytes: number): MessageOf<'gradients'> {
  const hidden = { codec: 'fp16', shape: [1, bytes / 2], bytes: new Uint8Array(bytes) }
  return { type: 'gradients', round, attempt: 0, step: 0, micro: 0, hidden, rows: new Uint8Array(0), nll: 1, tokens: 1 }
}

/** A client's word at the end of a round of one step that computed for a second and sent 500 kB in `uploadSeconds`. */
function adapter(round: number, uploadSeconds: number, steps = 1): MessageOf<'adapter'> {
  return {
    ...{ type: 'adapter', round, attempt: 0, adapter: {}, moments: null, steps },
    seconds: { compute: 1, wait: 0, network: uploadSeconds },
    upload: { messages: 1, bytes: 500_000, seconds: uploadSeconds },
    round_trip_s: 0,
  }
}

/** A whole round: the gradients take so long. */
function round(client: string, number: number, uploadSeconds: number, downloadSeconds: number) {
  const begun = codecs.startRound(client, number)
  const delivered = codecs.sending(client, gradients(number, 500_000))
  now += 1000 * downloadSeconds
  delivered()
  codecs.finished(client, adapter(number, uploadSeconds), FP32)
  return begun
}

describe('what a client is told', () => {
  test('follows its own link in each direction, from the round after the first', () => {
    expect(codecs.forEvaluation('ada')).toEqual(SAFEST)
    expect(round('ada', 1, 60, 0.001)).toMatchObject({ names: SAFEST, isChanged: false })
    expect(round('bob', 1, 0.001, 60)).toMatchObject({ names: SAFEST, isChanged: false })
    const { names, uses, isChanged } = round('ada', 2, 0.001, 0.001)
    expect(names).toEqual({ activations: COARSEST.activations, gradients: SAFEST.gradients })
    expect(isChanged).toBe(true)
    expect(uses.activations.auto).toMatchObject({ measured_round: 1, bytes_per_s: 500_000 / 60, step_s: 1 })
    expect(codecs.forEvaluation('ada')).toEqual(names)
    expect(codecs.startRound('bob', 2).names).toEqual({ activations: SAFEST.activations, gradients: COARSEST.gradients })
    // Its link was fast in round 2.
    expect(codecs.startRound('ada', 3)).toMatchObject({ names: SAFEST, isChanged: true })
  })

  test('is what the config names, whatever its link does, and no reason is given', () => {
    const fixed = { activations: 'int8', gradients: 'fp16' }
    expect(round('fixed', 1, 60, 60)).toMatchObject({ names: fixed })
    expect(codecs.startRound('fixed', 2)).toEqual({
      names: fixed,
      uses: { activations: { codec: 'int8' }, gradients: { codec: 'fp16' } },
      isChanged: false,
    })
  })

  test('is the coarsest after a round that it did not come to the end of, and follows its link again after one that it did', () => {
    round('ada', 1, 0.001, 0.001)
    codecs.startRound('ada', 2)
    const late = codecs.startRound('ada', 3)
    expect(late.names).toEqual(COARSEST)
    expect(late.uses.activations.auto?.reason).toContain('did not finish round 2')
    codecs.finished('ada', adapter(3, 0.001), FP32)
    expect(codecs.startRound('ada', 4).names).toEqual(SAFEST)
  })

  test('is what it was measured for before, after a round without a step', () => {
    round('ada', 1, 60, 60)
    codecs.startRound('ada', 2)
    codecs.finished('ada', adapter(2, 0, 0), { up: 0, down: 0 })
    expect(codecs.startRound('ada', 3).uses.activations).toMatchObject({ codec: COARSEST.activations, auto: { measured_round: 1 } })
  })

  test('is the safest again for a process that takes its place', () => {
    round('ada', 1, 60, 60)
    codecs.forget('ada')
    expect(codecs.startRound('ada', 2).names).toEqual(SAFEST)
  })

  test('owes nothing to gradients of a round that is over, or to other messages', () => {
    const first = (codecs.startRound('ada', 1), codecs.sending('ada', gradients(1, 500_000)))
    codecs.finished('ada', adapter(1, 0.001), FP32)
    codecs.startRound('ada', 2)
    now += 60_000
    first()
    codecs.sending('ada', { type: 'heartbeat' })()
    codecs.finished('ada', adapter(2, 0.001), FP32)
    expect(codecs.startRound('ada', 3).uses.gradients).toMatchObject({ codec: SAFEST.gradients, auto: { bytes_per_s: null } })
  })
})

test("the server's end of a cut stays while its codecs do, and is another with others", () => {
  codecs.startRound('ada', 1)
  const first = cuts.of('ada')
  codecs.forEvaluation('ada')
  expect(cuts.of('ada')).toBe(first)
  codecs.startRound('ada', 2) // after a round that it did not finish
  expect(cuts.of('ada')).not.toBe(first)
})
