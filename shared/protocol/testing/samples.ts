/**
 * @file Messages for the tests of everything that carries messages.
 */
import { encodeMask } from '../mask.js'
import type { ClientMessage, MessageOf } from '../messages.js'
import { PROTOCOL_VERSION } from '../messages.js'
import { encodeVarints } from '../varints.js'

export function sampleHello(client = 'client-0', token: string | null = 'secret'): MessageOf<'hello'> {
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    client,
    token,
    secret: null,
    resume: false,
    part: { index: 0, count: 4 },
    own_data: false,
    capabilities: { codecs: ['fp32', 'fp16'], engine: 'reference', software: 'test' },
  }
}

/** Activations whose tensor has so many bytes, filled with a pattern that repeats nowhere near a chunk's size. */
export function sampleActivations(bytes: number, step = 0): MessageOf<'activations'> {
  const values = new Uint8Array(bytes)
  for (let index = 0; index < bytes; index++) values[index] = (index * 31 + (index >>> 8) + step) & 0xff
  return {
    type: 'activations',
    round: 1,
    attempt: 0,
    step,
    micro: 0,
    hop: 0,
    purpose: 'train',
    lengths: encodeVarints([1]),
    hidden: { codec: 'fp32', shape: [1, bytes / 4], bytes: values },
    rows: new Uint8Array(0),
    scored: encodeMask(Uint8Array.of(1)),
    targets: encodeVarints([7]),
    normalizer: 1,
  }
}

export function sampleStep(step: number): MessageOf<'step'> {
  return { type: 'step', round: 1, attempt: 0, step, outcome: 'updated', nll: 1.5, tokens: 3, lr: 1e-3, grad_norm: 0.25 }
}

export function sampleDropped(step: number): MessageOf<'dropped'> {
  return { type: 'dropped', round: 1, attempt: 0, step, reason: 'late', next_step: step + 1 }
}

/** The next `count` messages of a link, in order. */
export function collect<Message>(link: { onMessage(listener: (message: Message) => void): void }, count: number): Promise<Message[]> {
  return new Promise((resolve) => {
    const messages: Message[] = []
    link.onMessage((message) => {
      messages.push(message)
      if (messages.length === count) resolve([...messages])
    })
  })
}

export function stepsOf(messages: readonly ClientMessage[]): number[] {
  return messages.flatMap((message) => ('step' in message ? [message.step] : []))
}
