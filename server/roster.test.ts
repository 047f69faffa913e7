import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { ServerLink } from '../shared/protocol/link.js'
import type { ServerMessage } from '../shared/protocol/messages.js'
import { Roster } from './roster.js'

const reply: ServerMessage = { type: 'loss', round: 1, attempt: 0, step: 0, micro: 0, nll: 1, tokens: 1 }

test('a repeat is answered again until the round is over, and then its answer is gone', async () => {
  const sent: ServerMessage[] = []
  const link: ServerLink = {
    send: async (message) => void sent.push(message),
    onMessage() {},
    onClose() {},
    onTraffic() {},
    close: async () => {},
  }
  const roster = new Roster(() => {})
  roster.add('ada', link)
  roster.answer('ada', 'evaluate/1/0/0/0', reply)
  await setImmediate() // the answer is delivered
  expect(roster.answerAgain('ada', 'evaluate/1/0/0/0')).toBe(true)
  expect(sent).toEqual([reply, reply])
  roster.forgetAnswers()
  expect(roster.answerAgain('ada', 'evaluate/1/0/0/0')).toBe(false)
  expect(sent).toHaveLength(2)
})

test('a client that does not read gets no more work than it holds, and of the rest only the last, unless its round is over', async () => {
  const sent: ServerMessage[] = []
  const holds: (() => void)[] = []
  const link: ServerLink = {
    send: (message) => {
      sent.push(message)
      return new Promise((resolve) => holds.push(resolve))
    },
    onMessage() {},
    onClose() {},
    onTraffic() {},
    close: async () => {},
  }
  const evaluate = (round: number): ServerMessage => ({
    ...{ type: 'evaluate', round, attempt: 0, adapter: {}, codecs: null, max_batches: null, ask_first: false },
  })
  const roundEnd = (round: number): ServerMessage => ({ type: 'round-end', round, attempt: 0, train_loss: null, eval_loss: null })
  const roster = new Roster(() => {})
  roster.add('ada', link)
  const take = async (): Promise<ServerMessage[]> => {
    holds.splice(0).forEach((resolve) => resolve())
    await setImmediate()
    return sent.splice(0)
  }
  for (const round of [1, 2, 3]) roster.send('ada', evaluate(round))
  expect(sent.splice(0)).toEqual([evaluate(1)])
  expect(await take()).toEqual([evaluate(3)])
  roster.send('ada', evaluate(4))
  roster.send('ada', roundEnd(4))
  expect(sent.splice(0)).toEqual([roundEnd(4)])
  expect(await take()).toEqual([])
  roster.send('ada', evaluate(5))
  expect(sent).toEqual([evaluate(5)])
})
