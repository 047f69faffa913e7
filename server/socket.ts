/**
 * @file The server's end of the network: an HTTP server with socket.io on it, and the sessions that outlive their connections.
 *
 * A session begins with a client's hello and belongs to the client id in it. While a client is away for less than `reconnectSeconds`
 * its session waits; a new connection with the same session id and token goes on where the old one broke.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { RequestListener } from 'node:http'
import type { Socket as NetSocket } from 'node:net'
import { Server, type Socket } from 'socket.io'
import { UserError } from '../shared/errors.js'
import { Opening, type Frames, type Wire } from '../shared/protocol/frames.js'
import { DEFAULT_LIMITS, type LinkLimits } from '../shared/protocol/limits.js'
import type { ServerLink } from '../shared/protocol/link.js'
import { ClientMessage, PROTOCOL_VERSION, type MessageOf, type ServerMessage } from '../shared/protocol/messages.js'
import { Decoder, Encoder } from '../shared/protocol/parser.js'
import { farewell, parse, Session } from '../shared/protocol/session.js'
import type { Certificate } from './certificate.js'
import { isNameOf, isSameOrigin, urlHost, type KnownNames } from './hosts.js'
import { bind, httpServer } from './http-server.js'

const HELLO_SECONDS = 10
/** What a frame may have beside the bytes of its chunk; a hello fits in it too. socket.io closes on more without a word. */
const ENVELOPE_BYTES = 65536
/** How long closing waits for farewells to go out. */
const FAREWELL_MS = 1000

export interface LinkInfo {
  readonly client: string
  /** IP address of the client's first connection. */
  readonly address: string
}

export interface ListenOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly limits?: LinkLimits
  /** With it everything on the port is encrypted. */
  readonly certificate?: Certificate | undefined
  /** Names, beside that of the host and the certificate's, by which the server is asked. */
  readonly names?: readonly string[] | undefined
  /** How many links there are to be; strangers beside them are bounded in number. */
  readonly clients: number
  /**
   * Looks at a hello before its link is made, or before its sender goes on with the link.
   * @throws UserError why it may not; its sender is told.
   */
  screen?(hello: MessageOf<'hello'>, isBack: boolean): void
  /** A client said hello; the hello is the link's first message. Whether it may stay is for the caller to say. */
  onLink(link: ServerLink, info: LinkInfo): void
  /** The connection of a client's link broke, or it is back on the same link. */
  onConnection?(client: string, link: ServerLink, state: 'lost' | 'back'): void
  /** Answers plain HTTP requests for a name of this server (others: 403); without it each is answered 404. */
  readonly httpHandler?: RequestListener
  /** A connection that has not said hello in this time is closed. */
  readonly helloSeconds?: number
}

export interface Listening {
  /** What a client connects to. */
  readonly url: string
  readonly port: number
  /** Connections from now on meet this certificate. Only for a server that has one. */
  renew(certificate: Certificate): void
  /** Says farewell on every link and frees the port. */
  close(reason: string): Promise<void>
}

interface Entry {
  readonly session: Session<ServerMessage, ClientMessage>
  readonly client: string
  /** By which a new connection shows that it may go on with the link. */
  readonly tokenDigest: Buffer
  socket: Socket | null
  /** Ends the session unless a frame comes in time. */
  readonly silence: NodeJS.Timeout
}

/** @throws UserError PORT_IN_USE, or BAD_ARGUMENT if this machine cannot listen on that host and port. */
export async function listen(options: ListenOptions): Promise<Listening> {
  const limits = options.limits ?? DEFAULT_LIMITS
  const helloMs = (options.helloSeconds ?? HELLO_SECONDS) * 1000
  let known: KnownNames = { bound: options.host, names: options.names, certificate: options.certificate }
  const { http, renew } = httpServer(options.certificate, helloMs, (request, response) => {
    if (!isNameOf(known, request.headers.host)) response.writeHead(403, { connection: 'close' }).end()
    else if (options.httpHandler) options.httpHandler(request, response)
    else response.writeHead(404).end()
  })
  const connections = new Set<NetSocket>()
  const strangers = new Map<string, NetSocket>()
  const mostStrangers = mostBeside(options.clients)
  http.on('connection', (connection) => {
    connections.add(connection)
    const key = connectionKey(connection)
    strangers.set(key, connection)
    connection.once('close', () => {
      connections.delete(connection)
      strangers.delete(key)
    })
    // The oldest has had the longest time for its hello, which a client says at once.
    for (const oldest of strangers.keys()) if (strangers.size > mostStrangers) forgetStranger(strangers, oldest)
  })
  await bind(http, options.host, options.port)
  const io = new Server(http, {
    transports: ['websocket'],
    parser: { Encoder, Decoder },
    maxHttpBufferSize: limits.maxChunkBytes + ENVELOPE_BYTES,
    connectTimeout: helloMs,
    serveClient: false,
    perMessageDeflate: false,
    httpCompression: false,
    allowRequest({ headers: { origin, host } }, decide) {
      // Only browsers send an origin, and only they can be led here by a page.
      decide(null, origin === undefined || (isSameOrigin(origin, host) && isNameOf(known, host)))
    },
  })
  const sessions = new Map<string, Entry>()
  io.on('connection', (socket) => serve(socket, { options, limits, helloMs, sessions, strangers }))
  const heartbeats = setInterval(() => {
    for (const { socket } of sessions.values()) socket?.emit('heartbeat', { type: 'heartbeat' })
  }, limits.heartbeatSeconds * 1000)

  const address = http.address()
  const port = typeof address === 'object' && address ? address.port : options.port
  return {
    url: `${options.certificate ? 'https' : 'http'}://${urlHost(known)}:${port}`,
    port,
    renew(certificate) {
      known = { ...known, certificate }
      renew(certificate)
    },
    async close(reason) {
      clearInterval(heartbeats)
      for (const { session } of [...sessions.values()]) await session.close(reason)
      for (const socket of io.sockets.sockets.values()) socket.conn.close()
      // io.close() throws away what is still in a connection's buffer, and waits for those that do not answer a farewell.
      const gone = [...connections].map((connection) => new Promise((resolve) => connection.once('close', resolve)))
      const patience = new Promise((resolve) => setTimeout(resolve, FAREWELL_MS).unref())
      await Promise.race([Promise.all(gone), patience])
      for (const connection of connections) connection.destroy()
      await io.close()
    },
  }
}

interface Serving {
  readonly options: ListenOptions
  readonly limits: LinkLimits
  readonly helloMs: number
  readonly sessions: Map<string, Entry>
  /** Connections whose hello has not been accepted, the oldest first. */
  readonly strangers: Map<string, NetSocket>
}

function serve(socket: Socket, serving: Serving): void {
  const { options, helloMs } = serving
  let entry: Entry | null = null
  const tooSlow = setTimeout(() => socket.disconnect(true), helloMs)
  socket.onAny((name: string, body: unknown) => {
    if (entry) {
      // A client that is back on a new connection: what still comes from the old one is not for the session.
      if (entry.socket !== socket || entry.session.isEnded) return
      entry.silence.refresh()
      entry.session.receive(name, body)
    } else if (name === 'hello') {
      clearTimeout(tooSlow)
      try {
        entry = open(socket, readOpening(body), serving)
        serving.strangers.delete(connectionKey(socket.request.socket))
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        socket.emit('refused', { error: farewell('', error).error })
        socket.conn.close()
      }
    } else {
      socket.disconnect(true)
    }
  })
  socket.on('disconnect', () => {
    clearTimeout(tooSlow)
    if (entry?.socket !== socket) return
    entry.socket = null
    entry.session.detach()
    if (!entry.session.isEnded) options.onConnection?.(entry.client, entry.session, 'lost')
  })
}

/** Begins a session or goes on with one. @throws UserError if the opening cannot be honoured. */
function open(socket: Socket, opening: Opening, { options, limits, sessions }: Serving): Entry {
  const { session: id, hello, held } = opening
  const known = sessions.get(id)
  if (known && (known.client !== hello.client || !timingSafeEqual(known.tokenDigest, digestOf(hello.token)))) throw notYours(hello.client)
  if (!known && hello.resume) throw forgotten(hello.client, limits.reconnectSeconds)
  options.screen?.(hello, known !== undefined)
  if (!known) {
    if (sessions.size >= mostBeside(options.clients)) throw tooMany(hello.client, sessions.size)
  }
  const entry = known ?? begin(opening, { limits, sessions })

  const old = entry.socket
  entry.socket = socket
  entry.silence.refresh()
  entry.session.detach()
  old?.disconnect(true)
  const attached: Frames['attached'] = { held: entry.session.held(), limits }
  socket.emit('attached', attached)
  entry.session.attach(wireOf(socket), held)
  if (known) {
    options.onConnection?.(entry.client, entry.session, 'back')
  } else {
    options.onLink(entry.session, { client: hello.client, address: socket.handshake.address })
    entry.session.greet(opening)
  }
  return entry
}

function begin(opening: Opening, { limits, sessions }: Pick<Serving, 'limits' | 'sessions'>): Entry {
  const { client, token } = opening.hello
  const session = new Session<ServerMessage, ClientMessage>({
    side: 'server',
    schema: ClientMessage,
    limits,
    onEnd() {
      sessions.delete(opening.session)
      clearTimeout(silence)
    },
  })
  const silence = setTimeout(() => {
    const heardBefore = session.framesReceived
    // After a stall of this process its timers run before the input that waited meanwhile: let that be read first.
    setImmediate(() => {
      if (session.framesReceived !== heardBefore) silence.refresh()
      else session.fail(silent(client, limits.reconnectSeconds))
    })
  }, limits.reconnectSeconds * 1000)
  const entry: Entry = { session, client, tokenDigest: digestOf(token), socket: null, silence }
  sessions.set(opening.session, entry)
  return entry
}

/** Comparing digests tells nobody, by the time that it takes, how much of a token was right. */
function digestOf(token: string | null): Buffer {
  return createHash('sha256').update(JSON.stringify(token)).digest()
}

/** Room for clients that come again while their old connections are not yet known to be dead, and for some who are lost here. */
function mostBeside(clients: number): number {
  return 4 * clients + 64
}

function forgetStranger(strangers: Map<string, NetSocket>, key: string): void {
  strangers.get(key)?.destroy()
  strangers.delete(key)
}

/** The same for a connection and for what TLS makes of it. */
function connectionKey({ remoteAddress, remotePort, localAddress, localPort }: NetSocket): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(' ')
}

function wireOf(socket: Socket): Wire {
  return {
    send: (name, body) => void socket.emit(name, body),
    drop: () => socket.conn.close(),
  }
}

/** The version first: another version's hello may have another form. */
function readOpening(body: unknown): Opening {
  const hello = typeof body === 'object' && body !== null && 'hello' in body ? body.hello : null
  const version = typeof hello === 'object' && hello !== null && 'protocol' in hello ? hello.protocol : undefined
  if (typeof version === 'number' && version !== PROTOCOL_VERSION) {
    throw new UserError({
      code: 'PROTOCOL_VERSION_DIFFERS',
      what: 'the client and the server do not speak the same protocol',
      why: `the client speaks version ${version}, and the server version ${PROTOCOL_VERSION}`,
      fix: 'install the same version of cutlayer on both',
    })
  }
  return parse(Opening, body, 'hello')
}

function notYours(client: string): UserError {
  return new UserError({
    code: 'TOKEN_REFUSED',
    what: `client ${client} cannot go on with its link`,
    why: 'the link was opened with another client id or token',
    fix: 'start the client again',
  })
}

function forgotten(client: string, reconnectSeconds: number): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: `client ${client} cannot go on with its link`,
    why: `the server does not know the link any more: the client was away for more than ${reconnectSeconds} s, or the server was started again`,
    fix: 'start the client again; it joins the run as a new process. If connections break for longer, raise federation.reconnect_s',
  })
}

function tooMany(client: string, links: number): UserError {
  return new UserError({
    code: 'RUN_FULL',
    what: `client ${client} cannot join`,
    why: `the server has ${links} links already`,
    fix: 'stop processes that are not clients of this run, or ask for a token with transport.token_file',
  })
}

function silent(client: string, reconnectSeconds: number): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: `client ${client} is lost`,
    why: `nothing was heard of it for ${reconnectSeconds} s`,
    fix: 'see whether that client still runs and reaches the server. If connections break for longer, raise federation.reconnect_s',
  })
}
