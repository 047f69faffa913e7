import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { Config, clientConfigOf } from '../config/schema.js'
import { ClientMessage, ServerMessage } from './messages.js'
import { packMessage, unpackMessage } from './packing.js'
import { positional } from './positional.js'
import { unpack } from './msgpack.js'
import { sampleActivations, sampleDropped, sampleHello, sampleStep } from './testing/samples.js'

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

const tensor = { codec: 'fp32', shape: [1, 2], bytes: new Uint8Array(8) }
const inRound = { round: 2, attempt: 0 }
const moments = { updates: 3, mean: { a: tensor }, square: { a: tensor } }
const failure = { code: 'RUN_FULL' as const, what: 'what', why: 'why', fix: 'fix' }
const sha256 = '0'.repeat(64)

const fromClients: { [Type in ClientMessage['type']]: Extract<ClientMessage, { type: Type }> } = {
  hello: sampleHello(),
  'model-request': { type: 'model-request' },
  'file-request': { type: 'file-request', file: 'config.json', offset: 0, bytes: 7 },
  ready: { type: 'ready', examples: 3, tokens: 40, eval_examples: 0, kept: [1, 2] },
  activations: sampleActivations(8),
  step: sampleStep(3),
  adapter: {
    ...{ type: 'adapter', ...inRound, adapter: { a: tensor }, moments, steps: 2 },
    ...{ seconds: { compute: 1, wait: 0.5, network: 0 }, upload: { messages: 2, bytes: 100, seconds: 0.25 }, round_trip_s: 0.125 },
  },
  evaluation: { type: 'evaluation', ...inRound, nll: null, tokens: 1, bytes: 4, rows: 1 },
  heartbeat: { type: 'heartbeat' },
  error: { type: 'error', error: failure },
  offer: { type: 'offer', ...inRound, step: 1, micro: 2, purpose: 'evaluate', tokens: 70 },
}

const fromServer: { [Type in ServerMessage['type']]: Extract<ServerMessage, { type: Type }> } = {
  welcome: {
    ...{ type: 'welcome', protocol: 1, run: 'run', config: clientConfigOf(Config.parse({})), part: null },
    model: { name: 'm', digest: 'd', family: 'gpt2', layers: 2, hidden_size: 8, tensors: { w: 'd' } },
    limits: { max_chunk_bytes: 1024, max_message_bytes: 1024, heartbeat_s: 0.5 },
  },
  refused: { type: 'refused', error: failure },
  'model-files': {
    ...{ type: 'model-files', files: { 'config.json': { bytes: 7, sha256 } } },
    tensors: { w: { dtype: 'F32', shape: [2, 2], sha256 } },
  },
  'file-piece': { type: 'file-piece', file: 'config.json', offset: 0, bytes: new Uint8Array(7) },
  'round-start': {
    ...{
      type: 'round-start',
      ...inRound,
      adapter: { a: tensor },
      moments,
      keep_from: null,
      keep_since: 3,
      steps: 2,
      position: 0,
      positions: 4,
    },
    ...{ codecs: null, deadlines: { step_s: null, round_s: 1.5 }, ask_first: true },
  },
  gradients: { type: 'gradients', ...inRound, step: 1, micro: 0, hidden: tensor, rows: new Uint8Array(2), nll: 2.5, tokens: 1 },
  resync: { type: 'resync', ...inRound, step: 1, micro: 0 },
  dropped: sampleDropped(4),
  'round-end': { type: 'round-end', ...inRound, train_loss: 1, eval_loss: null },
  evaluate: {
    type: 'evaluate',
    ...inRound,
    adapter: {},
    codecs: { activations: 'int8', gradients: 'fp16' },
    max_batches: null,
    ask_first: false,
  },
  loss: { type: 'loss', ...inRound, step: 0, micro: 0, nll: 1.5, tokens: 2 },
  finish: { type: 'finish', reason: 'done', complete: true },
  heartbeat: { type: 'heartbeat' },
  error: { type: 'error', error: failure },
  grant: { type: 'grant', ...inRound, step: 1, micro: 2 },
}

describe('every message', () => {
  test.each(Object.values(fromClients).map((message) => ({ message, type: message.type })))(
    'comes back as it was: $type of a client',
    ({ message }) => {
      expect(ClientMessage.parse(unpackMessage(packMessage(message, 'client'), 'client'))).toEqual(message)
    },
  )
  test.each(Object.values(fromServer).map((message) => ({ message, type: message.type })))(
    'comes back as it was: $type of the server',
    ({ message }) => {
      expect(ServerMessage.parse(unpackMessage(packMessage(message, 'server'), 'server'))).toEqual(message)
    },
  )
})

test('a message is its place among those of its sender, and its fields in the order of the schema, without constants', () => {
  const { hidden, ...message } = sampleActivations(8)
  const fields = [1, 0, 0, 0, 0, message.lengths, ['fp32', [1, 2], hidden.bytes], message.rows, message.scored, message.targets, 1]
  expect(unpack(packMessage({ ...message, hidden }, 'client'))).toEqual([4, ...fields])
})

describe('what is restored', () => {
  const schema = z.discriminatedUnion('type', [
    z.object({ type: z.literal('one'), inner: z.object({ a: z.int(), b: z.int() }).nullable() }),
    z.object({ type: z.literal('three'), word: z.enum(['yes', 'no']) }),
    z.object({ type: z.literal('two'), by_name: z.record(z.string(), z.object({ a: z.int() })) }),
  ])
  const { strip, restore } = positional(schema)

  test('null where an object may be missing', () =>
    expect(restore(strip({ type: 'one', inner: null }))).toEqual({ type: 'one', inner: null }))

  test('an object that may lack fields keeps its names', () => {
    const optional = positional(z.object({ a: z.int().optional(), b: z.int() }))
    expect(optional.strip({ b: 1 })).toEqual({ b: 1 })
    expect(optional.restore({ b: 1 })).toEqual({ b: 1 })
  })

  test.each<[string, unknown]>([
    ['no list', { type: 'one', inner: null }],
    ['an empty list', []],
    ['a message that there is not', [3, null]],
    ['a word that there is not', [1, 2]],
    ['a word by its name', [1, 'yes']],
    ['a message before the first', [-1, null]],
    ['a message by its name', ['one', null]],
    ['too few fields', [0]],
    ['too many fields', [0, null, null]],
    ['named fields inside', [0, { a: 1, b: 2 }]],
    ['too few fields inside', [0, [1]]],
    ['too many fields in a record', [2, { name: [1, 2] }]],
  ])('%s is refused', (_, value) => expect(() => restore(value)).toThrow(refusal))

  test('what is of another kind than the schema says is left to the schema', () => {
    expect(restore([0, ['text', null]])).toEqual({ type: 'one', inner: { a: 'text', b: null } })
    expect(restore([2, 7])).toEqual({ type: 'two', by_name: 7 })
  })
})
