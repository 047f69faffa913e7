import { once } from 'node:events'
import { expect, test } from 'vitest'
import { listenForInterrupt, type EndingLimits, type Interrupt } from './interrupt.node.js'

const NEVER: EndingLimits = { urgentMs: 2 ** 30, lastMs: 2 ** 30 }

/** Listens, and notes what the command would be told. */
function listen(
  graceful: boolean,
  limits: EndingLimits = NEVER,
): { readonly interrupt: Interrupt; readonly told: unknown[]; readonly last: Promise<void> } {
  const told: unknown[] = []
  let resolve = (): void => {}
  const last = new Promise<void>((settle) => (resolve = settle))
  const onLast = (): void => {
    told.push('last')
    resolve()
  }
  return { interrupt: listenForInterrupt(graceful, (by) => told.push(by), onLast, limits), told, last }
}

const send = (signal: NodeJS.Signals): boolean => process.emit(signal, signal)

test.each(['SIGTERM', 'SIGHUP'] as const)('%s asks once, however often it is sent', (signal) => {
  const { interrupt, told } = listen(true)
  for (let time = 0; time < 3; time++) send(signal)
  expect(told).toEqual([signal])
  expect([interrupt.signal.aborted, interrupt.urgent.aborted]).toEqual([true, false])
  interrupt.release()
})

test('after SIGTERM the command is told when to wait for nobody any more, and then to end', async () => {
  const { interrupt, told, last } = listen(true, { urgentMs: 1, lastMs: 30 })
  send('SIGTERM')
  await once(interrupt.urgent, 'abort')
  expect(told).toEqual(['SIGTERM'])
  await last
  expect(told).toEqual(['SIGTERM', 'last'])
})

test('a person who pressed Ctrl-C may take as long as the step does, until the process is told to end', async () => {
  const { told, last } = listen(true, { urgentMs: 1, lastMs: 2 })
  send('SIGINT')
  expect(told).toEqual([null])
  send('SIGHUP')
  await last
  expect(told).toEqual([null, 'last'])
})

test('Ctrl-C after SIGTERM ends it at once', () => {
  const { told } = listen(true)
  send('SIGTERM')
  send('SIGINT')
  expect(told).toEqual(['SIGTERM', 'last'])
})

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s ends a command at once that cannot save', (signal) => {
  const { told } = listen(false)
  send(signal)
  expect(told).toEqual(['last'])
})

test('a command that is through listens no more, and no timer is left', async () => {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const before = signals.map((signal) => process.listenerCount(signal))
  const { interrupt, told } = listen(true, { urgentMs: 1, lastMs: 1 })
  send('SIGTERM')
  interrupt.release()
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(signals.map((signal) => process.listenerCount(signal))).toEqual(before)
  expect(told).toEqual(['SIGTERM'])
  expect(interrupt.urgent.aborted).toBe(false)
})
