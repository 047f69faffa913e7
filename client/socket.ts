/**
 * @file The client's end of the network. Runs in Node and in browsers.
 *
 * socket.io's own client reconnects with back-off; the session on top of it says what the other end still lacks.
 */
import { io, type Socket } from 'socket.io-client'
import { UserError } from '../shared/errors.js'
import { Attached, RefusedOpening, type Opening, type Wire } from '../shared/protocol/frames.js'
import { DEFAULT_LIMITS } from '../shared/protocol/limits.js'
import type { ClientLink } from '../shared/protocol/link.js'
import { ServerMessage, type ClientMessage, type MessageOf } from '../shared/protocol/messages.js'
import { Decoder, Encoder } from '../shared/protocol/parser.js'
import { parse, Session } from '../shared/protocol/session.js'
import { tlsError } from './tls-errors.js'

const CONNECT_SECONDS = 10
const FIRST_RETRY_MS = 200
const LAST_RETRY_MS = 2000
const FAREWELL_MS = 1000

export type ConnectionState = 'connected' | 'reconnecting'

export interface ConnectOptions {
  /** `http://host:port`, or `https:`. */
  readonly url: string
  /** Asked for each connection; `resume` is set here. */
  hello(): MessageOf<'hello'>
  /** The longest message to accept; the other limits are the server's. */
  readonly limits?: { readonly maxMessageBytes: number }
  /** PEM certificates to trust in place of those that the system does. Only in Node: browsers trust whom they trust. */
  readonly ca?: string
  /** Finds out why the first connection failed, where the failure does not say it; null: it does not know. Asked again for each attempt. */
  diagnose?(origin: string): Promise<UserError | null>
  /** How long to try for the first connection. */
  readonly connectSeconds?: number
  onState?(state: ConnectionState): void
}

/**
 * Connects, says hello, and keeps the link alive through lost connections for the server's `reconnectSeconds`.
 * What the server thinks of the hello arrives as `welcome` or `refused`.
 *
 * @throws UserError SERVER_UNREACHABLE if no server answers, CERTIFICATE_REFUSED for one that cannot show who it is, BAD_ARGUMENT for a URL that is none, or
 *   what the server refused the hello with (PROTOCOL_VERSION_DIFFERS, MESSAGE_INVALID). Later a link closes with CONNECTION_LOST when the server stays away.
 */
export function connect(options: ConnectOptions): Promise<ClientLink> {
  const origin = serverOrigin(options.url)
  return new Promise((resolve, reject) => new Connection(origin, options, resolve, reject))
}

/** One link's socket, timers and session. */
class Connection {
  private readonly socket: Socket
  private readonly id = randomId()
  private readonly firstConnection: ReturnType<typeof setTimeout>
  private heartbeats: ReturnType<typeof setInterval> | undefined
  private gone: ReturnType<typeof setTimeout> | undefined
  private retry: ReturnType<typeof setTimeout> | undefined
  private session: Session<ClientMessage, ServerMessage> | null = null
  private opening: Opening | null = null
  private reconnectMs = 0
  private lastHeard = 0
  private lastFailure = 'it does not answer'
  private isDiagnosing = false

  constructor(
    private readonly origin: string,
    private readonly options: ConnectOptions,
    private readonly resolve: (link: ClientLink) => void,
    private readonly reject: (error: UserError) => void,
  ) {
    const connectMs = (options.connectSeconds ?? CONNECT_SECONDS) * 1000
    this.socket = io(origin, {
      transports: ['websocket'],
      parser: { Encoder, Decoder },
      forceNew: true,
      timeout: Math.min(connectMs, CONNECT_SECONDS * 1000),
      reconnectionDelay: FIRST_RETRY_MS,
      reconnectionDelayMax: LAST_RETRY_MS,
      // Always: Node could be told from outside to trust anybody.
      rejectUnauthorized: true,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    })
    this.firstConnection = setTimeout(() => this.giveUp(unreachableServer(origin, this.lastFailure)), connectMs)
    this.socket.on('connect', () => this.sayHello())
    this.socket.on('connect_error', (error) => this.failed(error))
    this.socket.on('disconnect', (reason) => this.disconnected(reason))
    this.socket.onAny((name: string, body: unknown) => this.receive(name, body))
  }

  /** What time will not mend is told at once; not later, when the link can be saved. */
  private failed(failure: Error): void {
    this.lastFailure = reasonOf(failure)
    if (this.session) return
    const error = tlsError(this.origin, failure)
    if (error) return this.giveUp(error)
    const { diagnose } = this.options
    if (!diagnose || this.isDiagnosing) return
    this.isDiagnosing = true
    void diagnose(this.origin).then((found) => {
      this.isDiagnosing = false
      if (found && !this.session) this.giveUp(found)
    })
  }

  private sayHello(): void {
    const resume = this.session !== null
    const held = this.session?.held() ?? { message: 1, chunks: 0 }
    this.opening = { session: this.id, held, hello: { ...this.options.hello(), resume } }
    this.socket.emit('hello', this.opening)
  }

  private receive(name: string, body: unknown): void {
    this.lastHeard = Date.now()
    try {
      if (name === 'attached') this.attached(parse(Attached, body, 'the answer to hello'))
      else if (name === 'refused') this.giveUp(new UserError(parse(RefusedOpening, body, 'the answer to hello').error))
      else this.session?.receive(name, body)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.giveUp(error)
    }
  }

  private attached({ held, limits }: Attached): void {
    if (!this.opening || this.session?.isAttached) return
    clearTimeout(this.firstConnection)
    clearTimeout(this.gone)
    const isNew = this.session === null
    this.session ??= this.begin(limits)
    if (isNew) this.session.greet(this.opening)
    this.session.attach(this.wire(), held)
    this.options.onState?.('connected')
    if (isNew) this.resolve(this.session)
  }

  private begin(serverLimits: Attached['limits']): Session<ClientMessage, ServerMessage> {
    const own = this.options.limits ?? DEFAULT_LIMITS
    const limits = { ...serverLimits, maxMessageBytes: Math.min(serverLimits.maxMessageBytes, own.maxMessageBytes) }
    this.reconnectMs = limits.reconnectSeconds * 1000
    this.heartbeats = setInterval(() => this.beat(), limits.heartbeatSeconds * 1000)
    return new Session({ side: 'client', schema: ServerMessage, limits, onEnd: () => this.tearDown() })
  }

  private wire(): Wire {
    return {
      send: (name, body) => {
        // socket.io would keep it for the next connection, where the session sends it itself.
        if (this.socket.connected) this.socket.emit(name, body)
      },
      drop: () => void this.socket.io.engine.close(),
    }
  }

  private beat(): void {
    if (!this.session?.isAttached) return
    this.socket.emit('heartbeat', { type: 'heartbeat' })
    // A connection that died without a word; a new one may work.
    if (Date.now() - this.lastHeard > this.reconnectMs) this.socket.io.engine.close()
  }

  private disconnected(reason: string): void {
    const session = this.session
    if (session?.isEnded) return
    if (session) {
      session.detach()
      clearTimeout(this.gone)
      this.gone = setTimeout(() => session.fail(lostServer(this.origin, this.reconnectMs / 1000)), this.reconnectMs)
      this.options.onState?.('reconnecting')
    } else {
      this.lastFailure = 'it closed the connection before it answered'
    }
    // Only in this case socket.io would leave it at that.
    if (reason === 'io server disconnect') this.retry = setTimeout(() => this.socket.connect(), FIRST_RETRY_MS)
  }

  private giveUp(error: UserError): void {
    if (this.session) {
      this.session.fail(error)
    } else {
      void this.tearDown()
      this.reject(error)
    }
  }

  /** @returns when what was said last has gone out. */
  private async tearDown(): Promise<void> {
    clearTimeout(this.firstConnection)
    clearTimeout(this.gone)
    clearTimeout(this.retry)
    clearInterval(this.heartbeats)
    const engine = this.socket.io.engine
    const closed = new Promise<void>((resolve) => {
      const patience = setTimeout(resolve, FAREWELL_MS)
      engine.once('close', () => {
        clearTimeout(patience)
        resolve()
      })
    })
    this.socket.disconnect()
    if (engine.readyState !== 'closed') await closed
  }
}

function serverOrigin(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null
  const isPlain = parsed && ['http:', 'https:', 'ws:', 'wss:'].includes(parsed.protocol) && parsed.pathname === '/' && parsed.search === ''
  if (!isPlain) {
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `"${url}" is not the address of a server`,
      why: 'it is not of the form http://host:port',
      fix: 'copy the line that `cutlayer server` printed when it started',
    })
  }
  return `${parsed.protocol}//${parsed.host}`
}

/** 128 random bits, as 32 hexadecimal digits. */
function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** engine.io only says "websocket error"; what the WebSocket said of it is inside. */
function reasonOf(error: Error): string {
  const description = 'description' in error ? error.description : null
  const inner = typeof description === 'object' && description !== null && 'message' in description ? description.message : null
  return typeof inner === 'string' && inner !== '' ? inner : error.message
}

function unreachableServer(origin: string, why: string): UserError {
  return new UserError({
    code: 'SERVER_UNREACHABLE',
    what: `no cutlayer server answers at ${origin}`,
    why,
    fix: 'check the address and port, and that `cutlayer server` runs there and listens on that address (--host)',
  })
}

function lostServer(origin: string, seconds: number): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: `the server at ${origin} is gone`,
    why: `no connection to it could be made for ${seconds} s`,
    fix: 'see whether the server still runs; start this client again when it does. If connections break for longer, raise federation.reconnect_s',
  })
}
