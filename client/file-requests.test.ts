import { expect, test } from 'vitest'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { FileRequest, MessageOf } from '../shared/protocol/messages.js'
import { FileRequests } from './file-requests.js'
import { helloOf } from './join.js'

const PIECE = { file: 'block-0.bin', offset: 10, bytes: 4 }

/** Requests over a link whose other end answers each with what `answer` makes of it. */
function over(answer: (request: FileRequest) => MessageOf<'file-piece' | 'model-files'>): FileRequests {
  const hello = helloOf({ client: 'ada', token: null, part: null, ownData: true, engine: 'none', software: 'test' })
  const { client, server } = memoryLinkPair({ hello })
  const requests = new FileRequests(client, () => {})
  client.onMessage((message) => void requests.offer(message))
  server.onMessage((message) => {
    if (message.type === 'file-request') void server.send(answer(message))
  })
  return requests
}

const right = ({ file, offset, bytes }: FileRequest): MessageOf<'file-piece'> => ({
  type: 'file-piece',
  file,
  offset,
  bytes: new Uint8Array(bytes).fill(offset),
})

test('pieces that are asked for at once come each to its request', async () => {
  const requests = over(right)
  const pieces = await Promise.all([10, 20, 30].map((offset) => requests.piece({ ...PIECE, offset })))
  expect(pieces.map(([first]) => first)).toEqual([10, 20, 30])
})

test.each<[string, Partial<MessageOf<'file-piece'>>]>([
  ['too much', { bytes: new Uint8Array(5) }],
  ['too little', { bytes: new Uint8Array(3) }],
  ['nothing', { bytes: new Uint8Array(0) }],
  ['another place', { offset: 0 }],
  ['another file', { file: 'block-1.bin' }],
])('a server that sends %s is found out', async (_, lie) => {
  const requests = over((request) => ({ ...right(request), ...lie }))
  await expect(requests.piece(PIECE)).rejects.toMatchObject({
    code: 'MESSAGE_INVALID',
    why: expect.stringContaining('block-0.bin') as string,
  })
})

test('a server that sends the list in place of a piece is found out', async () => {
  const requests = over(() => ({ type: 'model-files', files: {}, tensors: {} }))
  await expect(requests.piece(PIECE)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' })
})

test('what nobody asked for is nobody’s, and what is cancelled rejects', async () => {
  const requests = over(right)
  expect(requests.offer(right({ type: 'file-request', ...PIECE }))).toBe(false)
  const piece = requests.piece(PIECE)
  requests.cancel(new Error('enough'))
  await expect(piece).rejects.toThrow('enough')
})

test('a server that names a path breaks the link', async () => {
  const hello = helloOf({ client: 'ada', token: null, part: null, ownData: true, engine: 'none', software: 'test' })
  for (const file of ['../up.bin', '/etc/passwd', 'block-00.bin', 'weights/block-0.bin', 'model.safetensors', 'block-0.bin\n']) {
    const { client, server } = memoryLinkPair({ hello })
    const closed = new Promise<unknown>((resolve) => client.onClose((_, error) => resolve(error)))
    const files = { [file]: { bytes: 1, sha256: 'a'.repeat(64) } }
    server.send({ type: 'model-files', files, tensors: {} }).catch(() => {})
    expect(await closed).toMatchObject({ code: 'MESSAGE_INVALID' })
  }
})
