/**
 * @file A WebSocket client made by hand for tests: sends any bytes to a socket.io server, without socket.io.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface RawWebSocket {
  /** One WebSocket frame; text or binary. */
  send(payload: string | Uint8Array): void
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<unknown>
}

/** @param headers further lines of the upgrade request. @throws Error with the status line if the server does not upgrade. */
export async function rawWebSocket(port: number, headers: readonly string[] = []): Promise<RawWebSocket> {
  const socket = connect(port, '127.0.0.1')
  const closed = once(socket, 'close')
  socket.on('error', () => {})
  const request = [
    'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1',
    `Host: 127.0.0.1:${port}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version: 13',
    ...headers,
  ]
  socket.write(`${request.join('\r\n')}\r\n\r\n`)
  const status = await firstLine(socket)
  if (!status.includes(' 101 ')) {
    socket.destroy()
    throw new Error(status)
  }
  answerClose(socket)
  return { send: (payload) => void socket.write(frame(payload)), closed }
}

/** Reads the server's frames, which are not masked, and answers its farewell, as every client must. */
function answerClose(socket: Socket): void {
  let unread = Buffer.alloc(0)
  socket.on('data', (data) => {
    unread = Buffer.concat([unread, data])
    while (unread.length >= 2) {
      const short = unread[1] & 0x7f
      if ((unread[0] & 0x0f) === 8) return void socket.end(frame(new Uint8Array(0), 8))
      if (short === 126 && unread.length < 4) return
      const [start, length] = short < 126 ? [2, short] : [4, unread.readUInt16BE(2)]
      if (unread.length < start + length) return
      unread = unread.subarray(start + length)
    }
  })
}

async function firstLine(socket: Socket): Promise<string> {
  const [data] = (await once(socket, 'data')) as [Buffer]
  return data.toString('latin1').split('\r\n')[0]
}

/** RFC 6455, section 5.2; the mask is four zero bytes. */
function frame(payload: string | Uint8Array, opcode = typeof payload === 'string' ? 1 : 2): Buffer {
  const body = Buffer.from(payload)
  const length = Buffer.alloc(body.length < 126 ? 2 : body.length < 0x10000 ? 4 : 10)
  length[0] = 0x80 | opcode
  length[1] = 0x80 | (length.length === 2 ? body.length : length.length === 4 ? 126 : 127)
  if (length.length === 4) length.writeUInt16BE(body.length, 2)
  if (length.length === 10) length.writeBigUInt64BE(BigInt(body.length), 2)
  return Buffer.concat([length, Buffer.alloc(4), body])
}
