/**
 * @file A TCP proxy for tests: counts what crosses it, and is slow, late, silent, or cuts connections when it is told to. It holds no more than a few chunks
 * of what one end sends and the other does not read.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** What a connection is like, in each direction. */
export interface LinkQuality {
  bytesPerSecond: number
  /** How much later everything arrives; what is on its way too. */
  delayMs: number
}

export interface TcpProxy {
  readonly port: number
  /** Bytes so far, from those who connected to the proxy (up) and to them (down), over all connections. */
  readonly bytes: { up: number; down: number }
  /** Connections accepted so far. */
  readonly connections: () => number
  /** Changes what connections are like, those that are there too. */
  become(quality: Partial<LinkQuality>): void
  /**
   * Once so many more bytes have gone up, the client's connection is reset in the middle of what it was sending. The server still reads
   * what has passed before its connection ends; a new one waits for that, so a test knows what the server holds.
   */
  cutAfter(upBytes: number): void
  /** Once so many more bytes have gone down, both ends' connections are reset. */
  cutAfterDown(downBytes: number): void
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
  const quality: LinkQuality = { bytesPerSecond, delayMs: 0 }
  const sockets = new Set<Socket>()
  let connections = 0
  const waiting: { at: number; resolve: () => void }[] = []
  const ending: Promise<unknown>[] = []
  const cutAt = { up: Infinity, down: Infinity }
  let isShut = false

  const reset = (): void => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  const server = createServer((near) => {
    if (isShut) return void near.resetAndDestroy()
    connections++
    near.pause()
    near.on('error', () => {})
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
    const up = new Channel(near, far, quality)
    const down = new Channel(far, near, quality)
    near.on('data', (data) => {
      if (isCut) return
      const passing = data.subarray(0, Math.max(0, cutAt.up - bytes.up))
      bytes.up += passing.length
      up.pass(passing)
      for (const { resolve } of waiting.filter(({ at }) => bytes.up >= at)) resolve()
      if (bytes.up < cutAt.up) return
      cutAt.up = Infinity
      isCut = true
      ending.push(once(far, 'close'))
      up.flush()
      far.end()
      near.resetAndDestroy()
    })
    far.on('data', (data) => {
      if (isCut) return
      const passing = data.subarray(0, Math.max(0, cutAt.down - bytes.down))
      bytes.down += passing.length
      down.pass(passing)
      if (bytes.down < cutAt.down) return
      cutAt.down = Infinity
      isCut = true
      near.resetAndDestroy()
      far.resetAndDestroy()
    })
    near.resume()
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    bytes,
    connections: () => connections,
    become: (changes) => void Object.assign(quality, changes),
    cutAfter(upBytes) {
      cutAt.up = bytes.up + upBytes
    },
    cutAfterDown(downBytes) {
      cutAt.down = bytes.down + downBytes
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
/** What a channel holds before it stops reading. */
const MOST_HELD_BYTES = 262_144

/** One direction of a connection. */
class Channel {
  private held: { readonly cameMs: number; readonly data: Uint8Array }[] = []
  private heldBytes = 0
  private timer: NodeJS.Timeout | null = null

  constructor(
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly quality: LinkQuality,
  ) {
    to.on('drain', () => this.readOn())
  }

  pass(data: Uint8Array): void {
    const { bytesPerSecond, delayMs } = this.quality
    if (this.held.length === 0 && bytesPerSecond === Infinity && delayMs === 0) return this.write(data)
    const pieceBytes = Math.max(1, Math.floor((Math.min(bytesPerSecond, 1e9) * PACE_MS) / 1000))
    const cameMs = performance.now()
    for (let at = 0; at < data.length; at += pieceBytes) this.held.push({ cameMs, data: data.subarray(at, at + pieceBytes) })
    this.heldBytes += data.length
    if (this.heldBytes > MOST_HELD_BYTES) this.from.pause()
    this.timer ??= setTimeout(() => this.tick(), 0)
  }

  /** Passes on what is held, at once. */
  flush(): void {
    if (this.timer) clearTimeout(this.timer)
    for (const { data } of this.held) this.to.write(data)
    this.held = []
    this.heldBytes = 0
  }

  private tick(): void {
    this.timer = null
    if (this.to.destroyed) return
    if (this.held[0] && this.held[0].cameMs + this.quality.delayMs <= performance.now()) {
      const { data } = this.held.shift()!
      this.heldBytes -= data.length
      this.write(data)
    }
    if (this.held.length > 0) this.timer = setTimeout(() => this.tick(), PACE_MS)
    this.readOn()
  }

  private write(data: Uint8Array): void {
    if (!this.to.destroyed && !this.to.write(data)) this.from.pause()
  }

  private readOn(): void {
    if (!this.to.writableNeedDrain && this.heldBytes <= MOST_HELD_BYTES && !this.from.destroyed) this.from.resume()
  }
}
