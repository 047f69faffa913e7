import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import { f32, type F32Tensor } from '../../tensor.js'
import { openCodec, openCutCodec, type CutCodecs } from '../codec/index.js'
import { evaluationName } from '../codec/name.js'
import { cutMemory, type BatchRows, type CutMemory } from '../codec/row-memory.js'
import { Activations } from '../messages.js'
import { encodeVarints } from '../varints.js'
import { ClientCut } from './client-cut.js'
import { ServerCut } from './server-cut.js'

const WIDTH = 12
const ROWS = 6
const PLENTY = 2 ** 20
/** Of two rows of 8 tokens. */
const LITTLE = 2 * 8 * WIDTH * 4

async function codecsOf(activations: string, gradients: string): Promise<CutCodecs> {
  const evaluation = await openCodec(evaluationName(activations))
  return { activations: await openCutCodec(activations, 2), gradients: await openCutCodec(gradients, 3), evaluation }
}

/** What may become of a step, beside that all goes well. */
const FATES = ['well', 'well', 'well', 'never sent', 'late', 'dropped', 'dropped once computed', 'grown', 'restarted'] as const
const anyStep = fc.record({
  fate: fc.constantFrom(...FATES),
  numbers: fc.array(fc.nat(ROWS - 1), { minLength: 1, maxLength: 3 }),
  seed: fc.nat(),
})

/** Both ends of a cut, and the rows that cross it. */
class Crossing {
  client!: ClientCut
  server!: ServerCut
  clientHolds!: CutMemory
  serverHolds!: CutMemory
  resyncs = 0
  private step = 0
  private readonly tokens = Array.from({ length: ROWS }, (_, row) => 3 + row)

  constructor(
    private readonly codecs: CutCodecs,
    private readonly clientBytes = PLENTY,
    private readonly serverBytes = PLENTY,
  ) {
    this.restart()
  }

  restart(): void {
    this.clientHolds = cutMemory(this.clientBytes)
    this.serverHolds = cutMemory(this.serverBytes)
    this.client = new ClientCut(this.codecs, this.clientHolds)
    this.server = new ServerCut(this.codecs, this.serverHolds)
  }

  rowsOf(numbers: readonly number[]): BatchRows & { lengths: Int32Array } {
    return { numbers, lengths: Int32Array.from(numbers, (row) => this.tokens[row]) }
  }

  grow(row: number): void {
    this.tokens[row]++
  }

  /** Numbers near those of the row's other visits. */
  tensorOf(rows: BatchRows, what: string, visit: number): F32Tensor {
    const values = Array.from(rows.numbers, (row, index) => {
      const [own, moved] = [0, 0].map(() => new Float32Array(rows.lengths[index] * WIDTH))
      derive(row, what).fillNormal(own, 0, 1)
      derive(row, what, visit).fillNormal(moved, 0, 0.05)
      return [...own.map((value, place) => value + moved[place])]
    }).flat()
    return f32([values.length / WIDTH, WIDTH], Float32Array.from(values))
  }

  message(hidden: F32Tensor, rows: BatchRows, seed: number): Activations {
    return {
      ...{ type: 'activations', round: 1, attempt: 0, step: this.step, micro: 0, hop: 0, purpose: 'train', normalizer: 1 },
      ...{ lengths: new Uint8Array(0), scored: new Uint8Array(0), targets: new Uint8Array(0) },
      ...this.client.pack(hidden, rows, derive(seed, 'activations')),
    }
  }

  /** @returns how far what arrived lies from what was sent: activations, gradients. */
  make({
    fate,
    numbers,
    seed,
  }: {
    fate: (typeof FATES)[number]
    numbers: readonly number[]
    seed: number
  }): readonly [number, number] | null {
    this.step++
    if (fate === 'restarted') this.restart()
    if (fate === 'grown') this.grow(numbers[0])
    const rows = this.rowsOf(numbers)
    const [hidden, gradient] = ['hidden', 'gradient'].map((what) => this.tensorOf(rows, what, seed))
    let message = this.message(hidden, rows, seed)
    if (fate === 'never sent' || fate === 'late') return this.giveUp()
    expect(Activations.safeParse(message).success).toBe(true)
    let read = this.server.read(message, rows.lengths, hidden.shape)
    if (!read) {
      this.resyncs++
      this.client.forget()
      message = this.message(hidden, rows, seed)
      read = this.server.read(message, rows.lengths, hidden.shape)
    }
    if (!read) throw new Error('asked for twice')
    read.keep()
    if (fate === 'dropped') return this.giveUp()
    const answer = this.server.answer(gradient, read.rows, derive(seed, 'gradients'))
    if (fate === 'dropped once computed') return this.giveUp()
    const got = this.client.read(answer, hidden.shape)
    return [apart(hidden.data, read.values), apart(gradient.data, got)]
  }

  private giveUp(): null {
    this.client.forget()
    return null
  }

  /** What both ends say that they know alike they know alike, bit for bit. */
  check(): void {
    for (const direction of ['activations', 'gradients'] as const)
      for (const [row, tokens] of this.tokens.entries()) {
        const [own, other] = [this.clientHolds, this.serverHolds].map((holds) => holds[direction].get(row, tokens * WIDTH))
        if (own && other && own.version === other.version)
          expect(Buffer.compare(Buffer.from(own.values.buffer), Buffer.from(other.values.buffer))).toBe(0)
      }
  }
}

function apart(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index])), 0)
}

describe.each([
  ['delta+int8', 'delta+int8', 0.1],
  ['delta+int4+zstd', 'lowrank+int8', null],
  ['lowrank:rank=2+int8', 'delta+fp16', null],
  ['reuse:threshold=0.99+int8', 'feedback+int4', null],
  ['feedback+int4', 'delta+int4', null],
  ['int8', 'lowrank+int8+zstd', null],
  ['int4', 'feedback+topk+int8', null],
  ['reuse:threshold=0.999:control=off+int8:group=6:outliers=2:rounding=nearest+zstd:level=19', 'delta+fp32', null],
])('activations by %s and gradients by %s', (activations, gradients, most) => {
  test.each([
    ['which both remember', PLENTY, PLENTY],
    ['of which both remember few', LITTLE, LITTLE],
    ['of which the server remembers fewer', PLENTY, LITTLE],
    ['of which the client remembers fewer', LITTLE, PLENTY],
  ])('go on whatever becomes of steps, and both ends hold the same of rows %s', async (_, clientBytes, serverBytes) => {
    const codecs = await codecsOf(activations, gradients)
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 25 }), (steps) => {
        const crossing = new Crossing(codecs, clientBytes, serverBytes)
        for (const step of steps) {
          const errors = crossing.make(step)
          if (errors && most !== null) expect(Math.max(...errors)).toBeLessThan(most)
          crossing.check()
          for (const holds of [crossing.clientHolds, crossing.serverHolds])
            for (const { bytes } of [holds.activations, holds.gradients])
              expect(bytes).toBeLessThanOrEqual(holds === crossing.clientHolds ? clientBytes : serverBytes)
        }
      }),
      { numRuns: 15 },
    )
  })
})

describe('a row that comes again', () => {
  const visits = async (activations: string, gradients: string, fates: readonly (typeof FATES)[number][]) => {
    const crossing = new Crossing(await codecsOf(activations, gradients))
    return fates.map((fate, seed) => ({ errors: crossing.make({ fate, numbers: [0, 3], seed }), resyncs: crossing.resyncs }))
  }

  test('is told by its change in both directions', async () => {
    const [first, second] = await visits('delta+int4', 'delta+int4', ['well', 'well'])
    // Rows move by a twentieth of their size.
    for (const direction of [0, 1]) expect(second.errors![direction]).toBeLessThan(first.errors![direction] / 4)
  })

  test.each(['never sent', 'late', 'dropped', 'dropped once computed', 'restarted', 'grown'] as const)(
    'after a step that was %s goes on without a detour',
    async (fate) => {
      const all = await visits('delta+int8', 'delta+int8', ['well', fate, 'well', 'well'])
      for (const { resyncs } of all) expect(resyncs).toBe(0)
      expect(Math.max(...all[3].errors!)).toBeLessThan(0.005)
    },
  )

  test('and was forgotten by the server alone is asked for again, whole', async () => {
    const crossing = new Crossing(await codecsOf('delta+int8', 'delta+int8'), PLENTY, 0)
    for (let seed = 0; seed < 3; seed++) expect(crossing.make({ fate: 'well', numbers: [0, 3], seed })).not.toBeNull()
    expect(crossing.resyncs).toBe(2)
  })

  test('loses nothing for good with feedback: its mean comes closer the more often it comes', async () => {
    const codecs = await codecsOf('feedback+topk:share=0.1:random=0+fp32', 'fp32')
    const meanError = (visits: number): number => {
      const crossing = new Crossing(codecs)
      const rows = crossing.rowsOf([0])
      const hidden = crossing.tensorOf(rows, 'hidden', 0)
      const sum = new Float64Array(hidden.data.length)
      for (let visit = 0; visit < visits; visit++) {
        const read = crossing.server.read(crossing.message(hidden, rows, visit), rows.lengths, hidden.shape)!
        read.values.forEach((value, place) => (sum[place] += value / visits))
        crossing.client.read(crossing.server.answer(hidden, read.rows, null), hidden.shape)
      }
      return apart(hidden.data, Float32Array.from(sum))
    }
    expect(meanError(400)).toBeLessThan(meanError(40) / 5)
  })
})

describe('the server', () => {
  const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
  const opened = async (activations: string, gradients: string) => {
    const crossing = new Crossing(await codecsOf(activations, gradients))
    const rows = crossing.rowsOf([0, 3])
    const hidden = crossing.tensorOf(rows, 'hidden', 0)
    const message = crossing.message(hidden, rows, 0)
    const read = (changes: Partial<Activations>) => crossing.server.read({ ...message, ...changes }, rows.lengths, hidden.shape)
    return { read, message }
  }

  test.each<[string, (message: Activations) => Partial<Activations>]>([
    ['of fewer rows', () => ({ rows: encodeVarints([1, 0, 0, 0]) })],
    ['of more rows', () => ({ rows: encodeVarints([1, ...[0, 0, 0], ...[3, 0, 0], ...[4, 0, 0]]) })],
    ['that end within a number', () => ({ rows: Uint8Array.of(1, 0, 0, 0, 3, 0, 0x80) })],
    ['told against the future', () => ({ rows: encodeVarints([3, 0, 3, 0, 3, 0, 0]) })],
    ['told against a message long before the first', () => ({ rows: encodeVarints([3, 0, 0x7fffffff, 0, 3, 0, 0]) })],
    ['of a message without a number', () => ({ rows: encodeVarints([0, 0, 0, 0, 3, 0, 0]) })],
    ['in an evaluation', () => ({ purpose: 'evaluate' })],
    ['that fit, and a codec that nobody agreed on', ({ hidden }) => ({ hidden: { ...hidden, codec: 'int8' } })],
    ['that fit, and numbers of another shape', ({ hidden }) => ({ hidden: { ...hidden, shape: [1, WIDTH] } })],
    ['that fit, and too few bytes', ({ hidden }) => ({ hidden: { ...hidden, bytes: hidden.bytes.subarray(1) } })],
  ])('refuses rows %s', async (_, changes) => {
    const { read, message } = await opened('delta+int8', 'delta+int8')
    expect(() => read(changes(message))).toThrow(refusal)
    expect(read({})).not.toBeNull()
  })

  test('refuses a message that comes twice, and rows that nobody is to remember', async () => {
    const { read } = await opened('delta+int8', 'int8')
    read({})!.keep()
    expect(() => read({})).toThrow(refusal)
    const other = await opened('feedback+int8', 'int8')
    expect(() => other.read({ rows: encodeVarints([1, 0, 3]) })).toThrow(refusal)
  })

  test('asks once for what is told against rows it does not hold, and then refuses it', async () => {
    const { read } = await opened('delta+int8', 'int8')
    const rows = encodeVarints([9, 0, 2, 3, 0])
    expect(read({ rows })).toBeNull()
    expect(() => read({ rows })).toThrow(refusal)
    expect(read({ rows, step: 7 })).toBeNull()
  })

  test('takes rows whole from who remembers none', async () => {
    const { read } = await opened('delta+int8', 'delta+int8')
    const crossing = new Crossing(await codecsOf('delta+int8', 'delta+int8'))
    const hidden = crossing.tensorOf(crossing.rowsOf([0, 3]), 'hidden', 0)
    expect(read(crossing.client.pack(hidden, null, null))!.rows).toBeNull()
  })
})

test('the client refuses gradients told against others than it holds, or against any where nobody remembers them', async () => {
  for (const gradients of ['delta+int8', 'int8']) {
    const crossing = new Crossing(await codecsOf('int8', gradients))
    const rows = crossing.rowsOf([0])
    const hidden = crossing.tensorOf(rows, 'hidden', 0)
    crossing.make({ fate: 'well', numbers: [1], seed: 0 })
    const read = crossing.server.read(crossing.message(hidden, rows, 1), rows.lengths, hidden.shape)!
    const answer = crossing.server.answer(hidden, read.rows, null)
    expect(() => crossing.client.read({ ...answer, rows: encodeVarints([1]) }, hidden.shape)).toThrow(
      expect.objectContaining({ code: 'MESSAGE_INVALID' }),
    )
  }
})
