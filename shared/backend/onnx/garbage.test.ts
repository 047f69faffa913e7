import { expect, test } from 'vitest'
import { Garbage } from './garbage.node.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Whose array nothing else holds. */
function lost(): WeakRef<Float32Array> {
  return new WeakRef(new Float32Array(1000))
}

test('what nothing holds any more is collected when there is enough of it, in the next turn of the event loop', async () => {
  const garbage = new Garbage()
  for (let time = 0; time < 2; time++) {
    const array = lost()
    garbage.add(15e6)
    await turn()
    expect(array.deref()).toBeDefined()
    // A reference that was followed holds its array until the turn is over.
    await turn()
    garbage.add(1e6)
    await turn()
    await turn()
    expect(array.deref()).toBeUndefined()
  }
})
