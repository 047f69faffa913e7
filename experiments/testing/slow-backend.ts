/**
 * @file A backend that takes as long as a test wants.
 */
import type { Backend } from '../../shared/backend/backend.js'

/** A backend whose first run of one program takes until it is told to go on; the promise resolves when that run has begun. */
export function slowly(inner: Backend, program: string): [Promise<void>, { backend: Backend; goOn: () => void }] {
  let [begin, goOn] = [(): void => {}, (): void => {}]
  const begun = new Promise<void>((resolve) => (begin = resolve))
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  const compile: Backend['compile'] = async (graph, weights, options) => {
    const compiled = await inner.compile(graph, weights, options)
    if (options.name !== program) return compiled
    return {
      ...compiled,
      async run(inputs, runOptions) {
        begin()
        await gate
        return compiled.run(inputs, runOptions)
      },
    }
  }
  return [begun, { backend: { ...inner, compile }, goOn }]
}
