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
