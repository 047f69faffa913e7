/**
 * @file A TCP proxy for tests: counts what crosses it, and cuts connections when it is told to.
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

export async function tcpProxy(targetPort: number): Promise<TcpProxy> {
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
    near.on('data', (data) => {
      const passing = data.subarray(0, Math.max(0, cutAt - bytes.up))
      bytes.up += passing.length
      far.write(passing)
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
      if (!isCut) near.write(data)
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
