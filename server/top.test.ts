import { describe, expect, test } from 'vitest'
import type { TopBatch, TopStage } from '../shared/model/stage.js'
import { f32, i32 } from '../shared/tensor.js'
import type { MaskKey } from '../shared/train/dropout.js'
import { createOptimizer } from '../shared/train/optimizers.js'
import { TopTrainer, type TopOptions } from './top.js'

const SGD = { optim: 'sgd', adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0 } as const

/** A stage whose gradient of its one weight is the batch's first activation, so that steps can be worked out by hand. */
const stage: TopStage = {
  atOnce: 1,
  adapterNames: ['w'],
  async train({ hidden, targets }: TopBatch) {
    return {
      nll: targets.data.length,
      gradient: f32(hidden!.shape, hidden!.data.slice()),
      grads: new Map([['w', f32([1], [hidden!.data[0]])]]),
    }
  },
  evaluate: async (_, adapter) => adapter.get('w')!.data[0],
  async dispose() {},
}

function trainer(options: Partial<TopOptions> = {}): TopTrainer {
  return new TopTrainer({
    stage,
    start: new Map([['w', f32([1], [10])]]),
    replicated: false,
    optimizerState: 'average',
    maxGradNorm: 0,
    newOptimizer: (state) => createOptimizer(SGD, state),
    ...options,
  })
}

/** One micro-batch whose gradient is `slope`, with so many scored tokens. */
function give(top: TopTrainer, client: string, step: number, slope: number, scored = 1) {
  const batch: TopBatch = {
    lengths: [1],
    positions: i32([1], [0]),
    slots: i32([1, 1], [0]),
    places: i32([1], [0]),
    hidden: f32([1, 1], [slope]),
    scored: i32([scored], new Int32Array(scored)),
    targets: i32([scored], new Int32Array(scored)),
  }
  const key: MaskKey = { seed: 1, client, round: 1, step, micro: 0 }
  return top.compute(client, batch, Math.max(1, scored), key)
}

const weight = (top: TopTrainer): number => top.adapter.get('w')!.data[0]

describe('a joint top', () => {
  test('steps with the mean of the gradients, weighted by scored tokens', async () => {
    const top = trainer()
    top.startRound(['a', 'b'])
    await give(top, 'a', 0, 4, 1)
    await give(top, 'b', 0, 8, 3)
    // (1 * 4 + 3 * 8) / 4 = 7
    expect(top.step(0, ['a', 'b'], 1)).toEqual({ gradNorm: 7, tokens: 4 })
    expect(weight(top)).toBe(3)
  })

  test('sums the micro-batches of a step before it is clipped once', async () => {
    const top = trainer({ maxGradNorm: 1 })
    top.startRound(['a'])
    await give(top, 'a', 0, 2)
    await give(top, 'a', 0, 3)
    expect(top.step(0, ['a'], 1).gradNorm).toBe(5)
    expect(weight(top)).toBeCloseTo(9, 5)
  })

  test('knows nothing of a step that was given up, and keeps the same client’s other steps', async () => {
    const top = trainer()
    top.startRound(['a', 'b'])
    await give(top, 'a', 0, 2)
    await give(top, 'a', 1, 100)
    top.discard('a', 1)
    top.step(0, ['a'], 1)
    expect(weight(top)).toBe(8)
    expect(() => top.step(1, ['a'], 1)).toThrow('gave nothing')
  })

  test('says of a micro-batch whose step was given up meanwhile that it is not current', async () => {
    const top = trainer()
    top.startRound(['a'])
    const answer = give(top, 'a', 0, 2)
    top.discard('a', 0)
    expect((await answer).isCurrent()).toBe(false)
  })

  test('refuses a micro-batch that has no finite gradient, which one client could use to spoil it for all', async () => {
    const top = trainer()
    top.startRound(['a'])
    await expect(give(top, 'a', 0, NaN)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
  })

  test('answers a micro-batch without scored tokens with a gradient of zero', async () => {
    const top = trainer()
    top.startRound(['a'])
    expect([...(await give(top, 'a', 0, 5, 0)).gradient.data]).toEqual([0])
    await give(top, 'a', 0, 2, 1)
    expect(top.contribution('a', 0)).toMatchObject({ tokens: 1 })
    expect(top.step(0, ['a'], 1).gradNorm).toBe(2)
  })

  test('stays as it is at the end of a round', async () => {
    const top = trainer()
    top.startRound(['a'])
    await give(top, 'a', 0, 4)
    top.step(0, ['a'], 1)
    top.endRound([{ client: 'a', weight: 1 }])
    expect(weight(top)).toBe(6)
  })
})

describe('a replicated top', () => {
  test('gives each client a copy of its own, and averages the copies of those that replied', async () => {
    const top = trainer({ replicated: true })
    top.startRound(['a', 'b', 'gone'])
    for (const [client, slope] of [
      ['a', 2],
      ['b', 6],
      ['gone', 1000],
    ] as const) {
      await give(top, client, 0, slope)
      top.step(0, [client], 1)
    }
    expect(weight(top)).toBe(10)
    // 0.75 * 8 + 0.25 * 4
    top.endRound([
      { client: 'a', weight: 0.75 },
      { client: 'b', weight: 0.25 },
    ])
    expect(weight(top)).toBe(7)
  })

  test.each([
    ['average', 1],
    ['keep', 1],
    ['reset', 0],
  ] as const)('with optimizer_state %s begins its second round with %i updates behind it', async (optimizerState, updates) => {
    const started: number[] = []
    const top = trainer({
      replicated: true,
      optimizerState,
      newOptimizer: (state) => {
        started.push(state?.updates ?? 0)
        return createOptimizer({ ...SGD, optim: 'adamw' }, state)
      },
    })
    top.startRound(['a'])
    await give(top, 'a', 0, 2)
    top.step(0, ['a'], 0.1)
    top.endRound([{ client: 'a', weight: 1 }])
    top.startRound(['a'])
    expect(started.at(-1)).toBe(updates)
  })
})

describe('a top goes on from what was saved as if it had never stopped:', () => {
  test.each([
    ['joint', false, 'average'],
    ['replicated', true, 'average'],
    ['replicated', true, 'keep'],
    ['replicated', true, 'reset'],
  ] as const)('%s, copies %j, optimizer_state %s', async (_, replicated, optimizerState) => {
    const options = {
      replicated,
      optimizerState,
      newOptimizer: (state: Parameters<TopOptions['newOptimizer']>[0]) => createOptimizer({ ...SGD, optim: 'adamw' }, state),
    }
    const round = async (top: TopTrainer, slope: number): Promise<void> => {
      top.startRound(['a', 'b'])
      for (const client of ['a', 'b']) await give(top, client, 0, client === 'a' ? slope : 3 * slope)
      if (replicated) for (const client of ['a', 'b']) top.step(0, [client], 0.1)
      else top.step(0, ['a', 'b'], 0.1)
      top.endRound(['a', 'b'].map((client) => ({ client, weight: 0.5 })))
    }
    const top = trainer(options)
    await round(top, 2)
    const saved = top.save()
    await round(top, 5)
    const expected = weight(top)

    const other = trainer(options)
    await round(other, 100) // of which nothing must stay
    other.restore(saved)
    await round(other, 5)
    expect(weight(other)).toBe(expected)

    // And once more from the same copy: what came after has not changed it.
    other.restore(saved)
    await round(other, 5)
    expect(weight(other)).toBe(expected)
  })
})
