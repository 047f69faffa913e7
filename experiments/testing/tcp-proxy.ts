/**
 * @file A TCP proxy for tests: counts what crosses it, and is slow or cuts connections when it is told to.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface TcpProxy {
  readonly port: number
  /** Bytes so far, from those who connected to the proxy (up) and to them (down), over all connections. */
  readonly bytes: { up: number; down: number }
  /** Connections accepted so far. */
  readonly connections: () => number
  /**
   * Once so many more bytes have gone up, the client's connection is reset in the middle of what it was sending. The server still reads
   * what has passed before its connection ends; a new one waits for that, so a test knows what the server holds.
   */
  cutAfter(upBytes: number): void
  /** Resolves when so many more bytes have gone up. */
  passed(upBytes: number): Promise<void>
  /** Resets every connection now, and refuses new ones until `open`. */
  shut(): void
  open(): void
  close(): Promise<void>
}

/** @param bytesPerSecond that a connection carries in each direction */
export async function tcpProxy(targetPort: number, bytesPerSecond = Infinity): Promise<TcpProxy> {
  const bytes = { up: 0, down: 0 }
  const sockets = new Set<Socket>()
  let connections = 0
  const waiting: { at: number; resolve: () => void }[] = []
  const ending: Promise<unknown>[] = []
  let cutAt = Infinity
  let isShut = false

  const reset = (): void => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  const server = createServer((near) => {
    if (isShut) return void near.resetAndDestroy()
    connections++
    near.pause()
    void Promise.all(ending.splice(0)).then(() => join(near, connect(targetPort, '127.0.0.1')))
  })
  const join = (near: Socket, far: Socket): void => {
    let isCut = false
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        if (!isCut) other.destroy()
      })
    }
    const up = paced(far, bytesPerSecond)
    const down = paced(near, bytesPerSecond)
    near.on('data', (data) => {
      const passing = data.subarray(0, Math.max(0, cutAt - bytes.up))
      bytes.up += passing.length
      up(passing)
      for (const { resolve } of waiting.filter(({ at }) => bytes.up >= at)) resolve()
      if (bytes.up >= cutAt) {
        cutAt = Infinity
        isCut = true
        ending.push(once(far, 'close'))
        far.end()
        near.resetAndDestroy()
      }
    })
    near.resume()
    far.on('data', (data) => {
      bytes.down += data.length
      if (!isCut) down(data)
    })
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    bytes,
    connections: () => connections,
    cutAfter(upBytes) {
      cutAt = bytes.up + upBytes
    },
    passed: (upBytes) => new Promise((resolve) => waiting.push({ at: bytes.up + upBytes, resolve })),
    shut() {
      isShut = true
      reset()
    },
    open() {
      isShut = false
    },
    async close() {
      reset()
      server.close()
      await once(server, 'close')
    },
  }
}

/** How often a slow connection passes something on. */
const PACE_MS = 10

/** Writes to a socket, at most so fast. */
function paced(socket: Socket, bytesPerSecond: number): (data: Uint8Array) => void {
  if (bytesPerSecond === Infinity) return (data) => void socket.write(data)
  const pieceBytes = Math.max(1, Math.floor((bytesPerSecond * PACE_MS) / 1000))
  const waiting: Uint8Array[] = []
  let timer: NodeJS.Timeout | null = null
  const pass = (): void => {
    timer = null
    const data = waiting.shift()
    if (!data || socket.destroyed) return
    socket.write(data)
    timer = setTimeout(pass, PACE_MS)
  }
  return (data) => {
    for (let at = 0; at < data.length; at += pieceBytes) waiting.push(data.subarray(at, at + pieceBytes))
    if (timer === null) pass()
  }
}
