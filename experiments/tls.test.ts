/**
 * @file Encrypted links, over real sockets: whom a client trusts, whom it does not and says why, and what the server makes of renewals and of strangers.
 */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { connect as connectPlain, createServer as createNetServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type SecureVersion } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { connect, type ConnectOptions } from '../client/socket.js'
import { trust } from '../client/trust.node.js'
import { readCertificate, type Certificate } from '../server/certificate.js'
import { listen, type Listening, type ListenOptions } from '../server/socket.js'
import { EXPIRED, selfSigned, testAuthority, type TestCertificate } from '../server/testing/certificates.js'
import type { ClientLink, ServerLink } from '../shared/protocol/link.js'
import { collect, sampleActivations, sampleHello, sampleStep, stepsOf } from '../shared/protocol/testing/samples.js'
import { tcpProxy } from './testing/tcp-proxy.js'

const authority = testAuthority()

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tls-'))
  await writeFile(join(folder, 'ca.pem'), authority.cert)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function certificateOf({ cert, key }: TestCertificate): Promise<Certificate> {
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  await writeFile(files.cert, cert)
  await writeFile(files.key, key)
  return readCertificate(files)
}

const forThisMachine = authority.issue(['localhost', '127.0.0.1'])

async function startServer(
  certificate: Certificate | undefined,
  options: Partial<ListenOptions> = {},
): Promise<{ server: Listening; link: Promise<ServerLink> }> {
  let onLink: (link: ServerLink) => void = () => {}
  const link = new Promise<ServerLink>((resolve) => (onLink = resolve))
  const server = await listen({ host: '127.0.0.1', port: 0, clients: 4, certificate, onLink: (made) => onLink(made), ...options })
  cleanUps.push(() => server.close('test over'))
  return { server, link }
}

/** As `cutlayer client` does it. */
async function joinAt(url: string, ca?: string, options: Partial<ConnectOptions> = {}): Promise<ClientLink> {
  const link = await connect({ url, hello: () => sampleHello(), ...(await trust(ca)), ...options })
  cleanUps.push(() => link.close('test over'))
  return link
}

describe('a client that trusts the authority', () => {
  test.each(['127.0.0.1', 'localhost'])('has an encrypted link to %s, whatever the size of messages', async (host) => {
    const { server, link } = await startServer(await certificateOf(forThisMachine))
    expect(server.url).toBe(`https://127.0.0.1:${server.port}`)
    const client = await joinAt(`https://${host}:${server.port}`, join(folder, 'ca.pem'))
    const arriving = collect(await link, 3)
    await client.send(sampleActivations(3_000_000))
    await client.send(sampleStep(1))
    expect(stepsOf(await arriving)).toEqual([0, 1])
  })

  test('goes on with its link after the connection broke', async () => {
    const { server, link } = await startServer(await certificateOf(forThisMachine))
    const proxy = await tcpProxy(server.port)
    cleanUps.push(() => proxy.close())
    const states: string[] = []
    const client = await joinAt(`https://127.0.0.1:${proxy.port}`, join(folder, 'ca.pem'), { onState: (state) => states.push(state) })
    await link
    proxy.shut()
    const sent = client.send(sampleStep(2))
    proxy.open()
    await sent
    expect(stepsOf(await collect(await link, 2))).toEqual([2])
    expect(states).toEqual(['connected', 'reconnecting', 'connected'])
  })

  test('meets the renewed certificate, and who is connected notices nothing', async () => {
    const { server, link } = await startServer(await certificateOf(forThisMachine))
    const client = await joinAt(server.url, join(folder, 'ca.pem'))
    const renewed = authority.issue(['127.0.0.1', 'edge.example'])
    server.renew(await certificateOf(renewed))
    const socket = connectTls({ host: '127.0.0.1', port: server.port, ca: authority.cert })
    await once(socket, 'secureConnect')
    expect(socket.getPeerCertificate().subjectaltname).toBe('IP Address:127.0.0.1, DNS:edge.example')
    socket.destroy()
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(await link, 2))).toEqual([1])
  })

  test('may trust a certificate that vouches for itself by its own file', async () => {
    const own = selfSigned(['127.0.0.1'])
    const { server } = await startServer(await certificateOf(own))
    await writeFile(join(folder, 'own.pem'), own.cert)
    await expect(joinAt(server.url, join(folder, 'own.pem'))).resolves.toBeDefined()
  })
})

describe('a client ends at once, and says why,', () => {
  const refusals: [string, TestCertificate, string | undefined, string, string][] = [
    [
      'if it knows nobody who vouches for the server',
      forThisMachine,
      undefined,
      'its authority is not one that this machine trusts',
      '--ca',
    ],
    ['if nobody but the server vouches for it', selfSigned(['127.0.0.1']), undefined, 'nobody but itself vouches for it', '--ca'],
    [
      'if another authority does',
      testAuthority().issue(['127.0.0.1']),
      'ca.pem',
      'its authority is not one that this machine trusts',
      '--ca',
    ],
    [
      'if the certificate is for another name',
      authority.issue(['edge.example', '10.0.0.1']),
      'ca.pem',
      'it stands for edge.example, 10.0.0.1, and not for 127.0.0.1',
      'connect by a name that it stands for',
    ],
  ]
  test.each(refusals)('%s', async (_, certificate, ca, why, fix) => {
    const { server } = await startServer(await certificateOf(certificate))
    // Nobody switches this off from outside.
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    await expect(joinAt(`https://127.0.0.1:${server.port}`, ca && join(folder, ca), { connectSeconds: 3600 })).rejects.toMatchObject({
      code: 'CERTIFICATE_REFUSED',
      what: `the certificate of https://127.0.0.1:${server.port} is not accepted`,
      why: expect.stringContaining(why) as string,
      fix: expect.stringContaining(fix) as string,
    })
  })

  test('if the certificate has expired', async () => {
    const { cert, key } = authority.issue(['127.0.0.1'], EXPIRED)
    const good = await certificateOf(forThisMachine)
    const { server } = await startServer({ ...good, cert, key })
    await expect(joinAt(server.url, join(folder, 'ca.pem'), { connectSeconds: 3600 })).rejects.toMatchObject({
      code: 'CERTIFICATE_REFUSED',
      why: 'it has expired',
    })
  })

  test('if it asks in the clear, and the server speaks TLS', async () => {
    const { server } = await startServer(await certificateOf(forThisMachine))
    await expect(joinAt(`http://127.0.0.1:${server.port}`, undefined, { connectSeconds: 3600 })).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      what: expect.stringContaining('takes encrypted connections only') as string,
      fix: `connect to https://127.0.0.1:${server.port}`,
    })
  })

  test('if it asks for TLS, and the server speaks in the clear', async () => {
    const { server } = await startServer(undefined)
    await expect(joinAt(`https://127.0.0.1:${server.port}`, undefined, { connectSeconds: 3600 })).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      what: expect.stringContaining('does not encrypt its connections') as string,
      fix: expect.stringContaining(`connect to http://127.0.0.1:${server.port}`) as string,
    })
  })

  test.each([
    ['is not there', null, 'there is no such file'],
    ['holds a key', forThisMachine.key, 'it holds no certificate in PEM form'],
    ['is damaged', authority.cert.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'), 'a certificate in it is damaged'],
  ])('if the file of --ca %s', async (_, content, why) => {
    const path = join(folder, 'bad-ca.pem')
    await rm(path, { force: true })
    if (content !== null) await writeFile(path, content)
    await expect(joinAt('https://127.0.0.1:1', path)).rejects.toMatchObject({ code: 'BAD_ARGUMENT', why })
  })

  test('but tries on where there is nobody yet', async () => {
    const { server } = await startServer(undefined)
    await server.close('gone')
    for (const scheme of ['http', 'https'])
      await expect(joinAt(`${scheme}://127.0.0.1:${server.port}`, undefined, { connectSeconds: 0.3 })).rejects.toMatchObject({
        code: 'SERVER_UNREACHABLE',
        why: expect.stringContaining('ECONNREFUSED') as string,
      })
  })
})

describe('a server with a certificate', () => {
  test('answers plain requests over TLS, by the names that it has and no others', async () => {
    const httpHandler: NonNullable<ListenOptions['httpHandler']> = (_, response) => void response.end('well')
    const { server } = await startServer(await certificateOf(authority.issue(['127.0.0.1', 'edge.example'])), {
      httpHandler,
      names: ['proxy'],
    })
    const ask = (host: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        request(
          { host: '127.0.0.1', port: server.port, ca: authority.cert, servername: 'edge.example', headers: { host }, agent: false },
          (response) => {
            response.resume()
            resolve(response.statusCode)
          },
        )
          .on('error', reject)
          .end()
      })
    const answers = []
    for (const host of ['127.0.0.1', 'localhost', 'edge.example:1', 'proxy', 'evil.example']) answers.push(await ask(host))
    expect(answers).toEqual([200, 200, 200, 200, 403])
  })

  test.each<[SecureVersion, boolean]>([
    ['TLSv1.1', false],
    ['TLSv1.2', true],
    ['TLSv1.3', true],
  ])('speaks %s: %s', async (version, speaks) => {
    const { server } = await startServer(await certificateOf(forThisMachine))
    const ciphers = version === 'TLSv1.1' ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {}
    const socket = connectTls({
      host: '127.0.0.1',
      port: server.port,
      ca: authority.cert,
      minVersion: version,
      maxVersion: version,
      ...ciphers,
    })
    const outcome = await Promise.race([once(socket, 'secureConnect').then(() => true), once(socket, 'close').then(() => false)]).catch(
      () => false,
    )
    socket.destroy()
    expect(outcome).toBe(speaks)
  })

  test('closes connections that never begin their handshake, and keeps its clients', async () => {
    const { server, link } = await startServer(await certificateOf(forThisMachine), { clients: 1, helloSeconds: 0.2 })
    const client = await joinAt(server.url, join(folder, 'ca.pem'))
    const halfway = connectPlain(server.port, '127.0.0.1')
    await once(halfway, 'close')
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(await link, 2))).toEqual([1])
  })

  test('makes room for others among connections that say nothing, and never in place of a client', async () => {
    const { server, link } = await startServer(await certificateOf(forThisMachine), { clients: 1 })
    const client = await joinAt(server.url, join(folder, 'ca.pem'))
    const sockets = []
    for (let count = 0; count < 70; count++) {
      const socket = connectPlain(server.port, '127.0.0.1')
      socket.on('error', () => {})
      await once(socket, 'connect')
      sockets.push(socket)
    }
    if (!sockets[0].closed) await once(sockets[0], 'close')
    await client.send(sampleStep(1))
    expect(stepsOf(await collect(await link, 2))).toEqual([1])
    for (const socket of sockets) socket.destroy()
  })
})

test('a server of another kind is not taken for one that speaks TLS', async () => {
  const other = createNetServer((socket) => void socket.on('error', () => {}).end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n'))
  cleanUps.push(() => other.close())
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  await expect(joinAt(`http://127.0.0.1:${port}`, undefined, { connectSeconds: 0.5 })).rejects.toMatchObject({
    code: 'SERVER_UNREACHABLE',
    why: expect.stringContaining('404') as string,
  })
})
