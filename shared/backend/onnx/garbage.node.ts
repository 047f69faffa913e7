/**
 * @file Has the memory of tensors given back soon after nothing needs them any more.
 *
 * The runtime's tensors are freed when V8 collects the objects that hold them, and V8, which sees a heap of a few megabytes, does so seldom: a client of the
 * GPT-2 small shape was measured to hold the kept values of two steps, 40 MB each, where one was in use.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** So much may be left lying: a collection takes a few milliseconds, and small models would make one every step. */
const COLLECT_EVERY_BYTES = 16e6

export class Garbage {
  private bytes = 0
  private isDue = false
  private collect: (() => void) | null = null

  /** Of that many bytes the last reference is gone. They are collected once what is under way has been answered. */
  add(bytes: number): void {
    this.bytes += bytes
    if (this.isDue || this.bytes < COLLECT_EVERY_BYTES) return
    this.isDue = true
    setImmediate(() => {
      this.isDue = false
      this.bytes = 0
      this.collect ??= collector()
      this.collect()
    })
  }
}

/** V8's own, which no flag of the process has to ask for. */
function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  return typeof gc === 'function' ? () => void gc() : () => {}
}
