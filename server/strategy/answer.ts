/**
 * @file Checks what a strategy of the user's own answers: the names and shapes that it was given, and finite numbers.
 */
import { elements, f32, type F32Tensor, type NamedTensors } from '../../shared/tensor.js'
import type { OptimizerState } from '../../shared/train/optimizer.js'
import type { Aggregated } from './strategy.js'

/** A clause that says what is wrong, as "the adapter lacks h.0.attn". */
export class WrongAnswer extends Error {}

/**
 * The answer with memory of its own, its adapter in the order of `like`.
 * @param like the adapter that the strategy was given.
 * @throws WrongAnswer
 */
export function checkedAnswer(answer: unknown, like: NamedTensors): Aggregated {
  if (answer instanceof Promise) {
    answer.catch(() => {}) // what it would have brought is of no use any more
    throw new WrongAnswer('it is a promise, and aggregate has to answer at once')
  }
  if (!isFields(answer)) throw new WrongAnswer('it is not an object with an adapter, as { adapter }')
  const { adapter, moments, state } = answer
  return {
    adapter: tensorsLike(adapter, like, 'adapter'),
    ...(moments === undefined ? {} : { moments: moments === null ? null : checkedMoments(moments, like) }),
    ...(state === undefined || state === null ? {} : { state: namedTensors(state, 'state') }),
  }
}

function checkedMoments(moments: unknown, like: NamedTensors): OptimizerState {
  if (!isFields(moments)) throw new WrongAnswer('moments are not an object with updates, mean and square')
  const { updates } = moments
  if (typeof updates !== 'number' || !Number.isSafeInteger(updates) || updates < 0)
    throw new WrongAnswer('moments.updates is not a whole number of at least 0')
  const square = tensorsLike(moments.square, like, 'moments.square')
  for (const [name, { data }] of square)
    if (data.some((value) => value < 0)) throw new WrongAnswer(`${name} of moments.square has a value below 0`)
  return { updates, mean: tensorsLike(moments.mean, like, 'moments.mean'), square }
}

function tensorsLike(value: unknown, like: NamedTensors, what: string): Map<string, F32Tensor> {
  const tensors = namedTensors(value, what)
  for (const name of tensors.keys()) if (!like.has(name)) throw new WrongAnswer(`${what} has ${name}, which no client sent`)
  return new Map(
    [...like].map(([name, { shape }]) => {
      const tensor = tensors.get(name)
      if (!tensor) throw new WrongAnswer(`${what} lacks ${name}`)
      if (tensor.shape.join() !== shape.join())
        throw new WrongAnswer(`${name} of ${what} is [${tensor.shape.join(', ')}], and has to be [${shape.join(', ')}]`)
      return [name, tensor]
    }),
  )
}

/** Whoever writes JavaScript may leave out `dtype`, and give a list of numbers for `data`. */
function namedTensors(value: unknown, what: string): Map<string, F32Tensor> {
  if (!(value instanceof Map)) throw new WrongAnswer(`${what} is not a Map from names to tensors { shape, data }`)
  return new Map(
    [...(value as Map<unknown, unknown>)].map(([name, tensor]) => [String(name), tensorOf(tensor, `${String(name)} of ${what}`)]),
  )
}

function tensorOf(value: unknown, what: string): F32Tensor {
  if (!isFields(value)) throw new WrongAnswer(`${what} is not a tensor { shape, data }`)
  const { shape, data } = value
  if (!isNumbers(shape) || shape.some((size) => !Number.isSafeInteger(size) || size < 0))
    throw new WrongAnswer(`the shape of ${what} is not a list of sizes`)
  if (!(data instanceof Float32Array || data instanceof Float64Array || isNumbers(data)))
    throw new WrongAnswer(`the data of ${what} is neither a Float32Array nor a list of numbers`)
  if (data.length !== elements(shape))
    throw new WrongAnswer(`the data of ${what} has ${data.length} values, and its shape [${shape.join(', ')}] has ${elements(shape)}`)
  // Copied: the strategy may go on to write into what it gave, or have given what belongs to others.
  const numbers = Float32Array.from(data)
  const odd = numbers.findIndex((number) => !Number.isFinite(number))
  if (odd !== -1) throw new WrongAnswer(`value ${odd} of ${what} is ${numbers[odd]}, and has to be a finite number`)
  return f32([...shape], numbers)
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'number')
}
