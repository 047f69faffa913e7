import { describe, expect, test } from 'vitest'
import { f32, type F32Tensor } from '../tensor.js'
import { clipGradients } from './clip.js'
import type { Optimizer } from './optimizer.js'
import { createOptimizer } from './optimizers.js'

const config = { adam_beta1: 0.8, adam_beta2: 0.95, adam_epsilon: 1e-6, weight_decay: 0.1 }
const gradients = [
  [0.3, -1.5, 0],
  [0.02, 0.7, -0.4],
  [-0.9, 0.1, 2],
]
const rates = [0, 0.01, 0.005]

/** Three updates of p [3] and q [2, 1], where q sees p's first and third gradient. */
function threeUpdates(optimizer: Optimizer): { p: number[]; q: number[] }[] {
  const params = new Map([
    ['p', f32([3], [0.5, -1.25, 2])],
    ['q', f32([2, 1], [0.1, -0.2])],
  ])
  return gradients.map((grad, step) => {
    const grads = new Map([
      ['p', f32([3], grad)],
      ['q', f32([2, 1], [grad[0], grad[2]])],
    ])
    optimizer.step(params, grads, rates[step])
    return { p: [...(params.get('p') as F32Tensor).data], q: [...(params.get('q') as F32Tensor).data] }
  })
}

const near = (actual: ArrayLike<number>, expected: readonly number[]): void => {
  expect(actual.length).toBe(expected.length)
  expected.forEach((value, index) => expect(Math.abs(actual[index] - value)).toBeLessThan(3e-7))
}

// torch 2.13.0 in float64: the same parameters, gradients and rates given to torch.optim.AdamW(betas=(0.8, 0.95), eps=1e-6,
// weight_decay=0.1) and to torch.optim.SGD(weight_decay=0.1), the rate set before each step.
describe('AdamW', () => {
  test("makes PyTorch's updates, also the first one at rate 0", () => {
    const [first, second, third] = threeUpdates(createOptimizer({ optim: 'adamw', ...config }, null))
    near(first.p, [0.5, -1.25, 2])
    near(second.p, [0.4926179234751208, -1.2463569979622926, 2.0057578840521884])
    near(third.p, [0.4949079813994759, -1.2450779575199953, 2.0019015354851386])
    near(second.q, [0.09301792347512082, -0.1920421159478116])
    near(third.q, [0.09550778139947591, -0.19479956451486125])
  })

  test("has PyTorch's moments after them", () => {
    const optimizer = createOptimizer({ optim: 'adamw', ...config }, null)
    threeUpdates(optimizer)
    expect(optimizer.state?.updates).toBe(3)
    near(optimizer.state?.mean.get('p')?.data ?? [], [-0.1384, -0.06, 0.336])
    near(optimizer.state?.square.get('p')?.data ?? [], [0.04458025, 0.12530625, 0.2076])
    expect(optimizer.state?.square.get('q')?.shape).toEqual([2, 1])
  })

  test('goes on from a state as if it had never stopped', () => {
    const params = (): Map<string, F32Tensor> => new Map([['p', f32([3], [0.5, -1.25, 2])]])
    const [through, stopped] = [params(), params()]
    const first = createOptimizer({ optim: 'adamw', ...config }, null)
    const early = createOptimizer({ optim: 'adamw', ...config }, null)
    gradients.forEach((grad) => first.step(through, new Map([['p', f32([3], grad)]]), 0.01))
    early.step(stopped, new Map([['p', f32([3], gradients[0])]]), 0.01)
    const late = createOptimizer({ optim: 'adamw', ...config }, structuredClone(early.state))
    for (const grad of gradients.slice(1)) late.step(stopped, new Map([['p', f32([3], grad)]]), 0.01)
    expect(stopped).toEqual(through)
    expect(late.state).toEqual(first.state)
    expect(early.state?.updates).toBe(1)
  })

  test('a parameter without a gradient is a bug, not a parameter left alone', () => {
    const params = new Map([['p', f32([1], [1])]])
    expect(() => createOptimizer({ optim: 'adamw', ...config }, null).step(params, new Map(), 1)).toThrow('no gradient that fits p')
    expect(() => createOptimizer({ optim: 'sgd', ...config }, null).step(params, new Map(), 1)).toThrow('no gradient that fits p')
  })
})

describe('SGD', () => {
  test("makes PyTorch's updates, the decay coupled to the gradient", () => {
    const optimizer = createOptimizer({ optim: 'sgd', ...config }, null)
    const [first, second, third] = threeUpdates(optimizer)
    near(first.p, [0.5, -1.25, 2])
    near(second.p, [0.4993, -1.25575, 2.002])
    near(third.p, [0.50355035, -1.255622125, 1.990999])
    near(third.q, [0.10415015, -0.2057021])
    expect(optimizer.state).toBeNull()
  })
})

describe('clipping', () => {
  const grads = (): Map<string, F32Tensor> =>
    new Map([
      ['p', f32([3], [3, -4, 0.5])],
      ['q', f32([2], [12, 1.5])],
    ])

  test('scales all gradients by one factor, and returns the norm before, as torch.nn.utils.clip_grad_norm_ does', () => {
    const clipped = grads()
    expect(clipGradients(clipped, 2)).toBeCloseTo(13.095800853708793, 12) // torch 2.13.0, float64
    near(clipped.get('p')?.data ?? [], [0.45816209400730756, -0.6108827920097434, 0.07636034900121792])
    near(clipped.get('q')?.data ?? [], [1.8326483760292303, 0.22908104700365378])
  })

  test.each([0, 14])('a largest norm of %d leaves these gradients alone', (maxNorm) => {
    const clipped = grads()
    expect(clipGradients(clipped, maxNorm)).toBeCloseTo(13.095800853708793, 12)
    expect(clipped).toEqual(grads())
  })
})
