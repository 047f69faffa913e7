/**
 * @file Runs a command in a network of its own, which holds the loopback address alone and, if asked for, a way to the package registry:
 * `node .ci/shut-in.mjs [--registry] -- COMMAND ...`.
 *
 * The way out is a proxy on a Unix socket, which a network namespace does not shut off. It passes requests to the registry's host on and
 * refuses all others; each of those is listed, and makes the status 1. Without the right to make a namespace (Linux only) the command does
 * not run: the status is 69 and the reason is printed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const UNAVAILABLE = 69
const divider = process.argv.indexOf('--')
const options = process.argv.slice(2, divider)
const command = process.argv.slice(divider + 1)

if (options[0] === '--inside') await inside(options[1])
else await outside(options.includes('--registry'))

/** The side that still has the network. */
async function outside(withRegistry) {
  const unshare = namespaceMaker()
  if (unshare === null) {
    console.error('shut-in: no network namespace can be made here (it takes Linux, unshare and the right to use it)')
    process.exit(UNAVAILABLE)
  }
  const folder = mkdtempSync(join(tmpdir(), 'shut-in-'))
  const socket = withRegistry ? join(folder, 'proxy') : ''
  const asked = new Map()
  const refused = new Map()
  const proxy = withRegistry ? await openProxy(registryHost(), socket, asked, refused) : null
  const status = await run([...unshare, process.execPath, fileURLToPath(import.meta.url), '--inside', socket, '--', ...command])
  proxy?.close()
  rmSync(folder, { recursive: true, force: true })
  const total = [...asked.values()].reduce((sum, count) => sum + count, 0)
  if (withRegistry) console.log(`shut-in: ${total} connections to the package registry, ${refused.size} other hosts asked for`)
  for (const [host, count] of refused) console.error(`shut-in: refused ${host}, asked for ${count} times`)
  process.exit(refused.size > 0 ? 1 : status)
}

/** The side that has nothing but the loopback address, and the proxy there. */
async function inside(socket) {
  const up = spawnSync('ip', ['link', 'set', 'lo', 'up'], { stdio: 'inherit' })
  if (up.status !== 0) {
    console.error('shut-in: the loopback address cannot be brought up (it takes ip, of iproute2)')
    process.exit(UNAVAILABLE)
  }
  if (socket === '') process.exit(await run(command))
  const bridge = net.createServer((client) => connectBoth(client, net.connect(socket)))
  await new Promise((resolve) => bridge.listen(0, '127.0.0.1', resolve))
  const proxy = `http://127.0.0.1:${bridge.address().port}`
  const names = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'npm_config_proxy', 'npm_config_https_proxy']
  process.exit(await run(command, Object.fromEntries(names.map((name) => [name, proxy]))))
}

/** The command line that puts what follows it into a network namespace; null if none works. */
function namespaceMaker() {
  const lines = [
    ['unshare', '--net'],
    ['unshare', '--map-root-user', '--net'],
  ]
  return lines.find(([program, ...args]) => spawnSync(program, [...args, 'true']).status === 0) ?? null
}

function registryHost() {
  const { stdout } = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return new URL(stdout.trim()).hostname
}

async function openProxy(allowedHost, socket, asked, refused) {
  const allows = (host) => {
    const table = host === allowedHost ? asked : refused
    table.set(host, (table.get(host) ?? 0) + 1)
    return host === allowedHost
  }
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://no-host.invalid')
    if (!allows(url.hostname)) return response.writeHead(403).end()
    const { method, headers } = request
    const onward = http.request(url, { method, headers }, (answer) => answer.pipe(response.writeHead(answer.statusCode, answer.headers)))
    onward.on('error', () => response.writeHead(502).end())
    return request.pipe(onward)
  })
  server.on('connect', (request, client) => {
    const { hostname, port } = new URL(`http://${request.url}`)
    if (!allows(hostname)) return client.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const target = net.connect(Number(port) || 443, hostname, () => client.write('HTTP/1.1 200 Connection Established\r\n\r\n'))
    return connectBoth(client, target)
  })
  await new Promise((resolve) => server.listen(socket, resolve))
  return server
}

function connectBoth(one, other) {
  one.pipe(other).pipe(one)
  one.on('error', () => other.destroy())
  other.on('error', () => one.destroy())
}

function run([program, ...args], environment = {}) {
  const child = spawn(program, args, { stdio: 'inherit', env: { ...process.env, ...environment } })
  return new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(`shut-in: ${error.message}`)
      resolve(127)
    })
    child.on('exit', (code, signal) => resolve(signal === null ? code : 128))
  })
}
