import { expect, test } from 'vitest'
import { manualClock } from '../experiments/testing/manual-clock.js'
import { helloOf } from '../client/join.js'
import type { ServedModel } from '../shared/model/served.node.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { FileRequest, ServerMessage } from '../shared/protocol/messages.js'
import { ModelDesk, MOST_WAITING } from './model-desk.js'

const FILE_BYTES = 1000

function served(onRead: (offset: number) => Promise<void> | void = () => {}): ServedModel {
  return {
    list: async () => ({ files: { 'block-0.bin': { bytes: FILE_BYTES, sha256: 'a'.repeat(64) } }, tensors: {} }),
    async read(_, offset, bytes) {
      await onRead(offset)
      return new Uint8Array(bytes).fill(offset % 251)
    },
  }
}

const request = (offset: number, bytes = 100, file = 'block-0.bin'): FileRequest => ({ type: 'file-request', file, offset, bytes })
const list = { type: 'model-request' } as const

interface Visitor {
  ask(message: FileRequest | typeof list): void
  /** Resolves when so many messages have come. */
  got(count: number): Promise<readonly ServerMessage[]>
}

interface Desk {
  readonly desk: ModelDesk
  /** The reasons for which clients were given up. */
  readonly unusable: Promise<string>
  visitor(client: string): Visitor
}

function open(model: ServedModel | null, options: { isBusy?: () => boolean; clock?: ReturnType<typeof manualClock> } = {}): Desk {
  let giveUp: (why: string) => void = () => {}
  const unusable = new Promise<string>((resolve) => (giveUp = resolve))
  const desk = new ModelDesk({
    model,
    clock: options.clock ?? manualClock(),
    isBusy: options.isBusy ?? (() => false),
    onUnusable: (client, _, error) => giveUp(`${client}: ${error instanceof Error ? error.message : String(error)}`),
  })
  return {
    desk,
    unusable,
    visitor(client) {
      const hello = helloOf({ client, token: null, part: null, ownData: true, engine: 'none', software: 'test' })
      const { server, client: link } = memoryLinkPair({ hello })
      const messages: ServerMessage[] = []
      const checks = new Set<() => void>()
      link.onMessage((message) => {
        messages.push(message)
        for (const check of [...checks]) check()
      })
      return {
        ask: (message) => desk.ask(client, server, message),
        got: (count) =>
          new Promise((resolve) => {
            const check = (): void => {
              if (messages.length < count) return
              checks.delete(check)
              resolve(messages)
            }
            checks.add(check)
            check()
          }),
      }
    },
  }
}

test('requests are answered in their order', async () => {
  const ada = open(served()).visitor('ada')
  ada.ask(list)
  for (const offset of [300, 0, 900]) ada.ask(request(offset))
  const [first, ...pieces] = await ada.got(4)
  expect(first).toMatchObject({ type: 'model-files', files: { 'block-0.bin': { bytes: FILE_BYTES } } })
  expect(pieces).toMatchObject(
    [300, 0, 900].map((offset) => ({ type: 'file-piece', offset, bytes: new Uint8Array(100).fill(offset % 251) })),
  )
})

test.each([
  ['a file that the model does not have', request(0, 1, 'block-7.bin'), 'block-7.bin, which this model does not have'],
  ['bytes behind the end', request(FILE_BYTES - 1, 2), `which has ${FILE_BYTES}`],
  ['bytes far behind the end', request(Number.MAX_SAFE_INTEGER, 1), `which has ${FILE_BYTES}`],
])('a client that asks for %s is refused', async (_, message, words) => {
  const { visitor, unusable } = open(served())
  const ada = visitor('ada')
  ada.ask(list)
  ada.ask(message)
  expect(await unusable).toContain(words)
})

test('a client that asks for more than two copies of the model is refused', async () => {
  const { visitor, unusable } = open(served())
  const ada = visitor('ada')
  ada.ask(list)
  for (let count = 1; count <= 2; count++) {
    await ada.got(count)
    ada.ask(request(0, FILE_BYTES))
  }
  await ada.got(3)
  ada.ask(request(0, 1))
  expect(await unusable).toContain('more than two copies')
})

test('a client that does not wait for answers is refused, and so is one that asks for the list again or not at all', () => {
  const { visitor } = open(served(() => new Promise<void>(() => {})))
  const hasty = visitor('hasty')
  hasty.ask(list)
  for (let count = 1; count < MOST_WAITING; count++) hasty.ask(request(0))
  expect(() => hasty.ask(request(0))).toThrow(`more than ${MOST_WAITING} requests`)
  const again = visitor('again')
  again.ask(list)
  expect(() => again.ask(list)).toThrow('a second request for the list')
  expect(() => visitor('blind').ask(request(0))).toThrow('before one for their list')
})

test('a server that has its model in memory alone says so', async () => {
  const { visitor, unusable } = open(null)
  visitor('ada').ask(list)
  expect(await unusable).toContain('in memory alone')
})

test('clients take turns, so that one that asks for much does not keep another waiting', async () => {
  const read: number[] = []
  const { visitor } = open(served((offset) => void read.push(offset)))
  const [greedy, late] = [visitor('greedy'), visitor('late')]
  for (const client of [greedy, late]) client.ask(list)
  await Promise.all([greedy.got(1), late.got(1)])
  for (const offset of [0, 1, 2]) greedy.ask(request(offset))
  late.ask(request(900))
  await Promise.all([greedy.got(4), late.got(2)])
  expect(read.indexOf(900)).toBeLessThanOrEqual(1)
})

test('while there is a round a client waits after a piece for as long as it took; without one, or at the run’s end, it does not', async () => {
  const clock = manualClock()
  const read: number[] = []
  let isBusy = true
  const { desk, visitor } = open(
    served((offset) => {
      read.push(offset)
      clock.advance(50)
    }),
    { clock, isBusy: () => isBusy },
  )
  const ada = visitor('ada')
  ada.ask(list)
  await ada.got(1)
  ada.ask(request(0))
  ada.ask(request(100))
  await ada.got(2)
  await turns()
  clock.advance(49)
  await turns()
  expect(read).toEqual([0])
  clock.advance(1)
  await ada.got(3)
  ada.ask(request(200))
  await turns()
  expect(read).toEqual([0, 100])
  desk.close()
  await ada.got(4)
  isBusy = false
  ada.ask(request(300))
  desk.close()
  await ada.got(5)
  ada.ask(request(400))
  await ada.got(6)
  expect(read).toEqual([0, 100, 200, 300, 400])
})

/** Enough of the event loop for whatever waits for nothing else. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}
