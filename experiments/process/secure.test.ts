/**
 * @file A server on TLS with a token for each client, as one sets it up by hand: the commands as processes, and what can be seen of the tokens from outside.
 */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { testAuthority } from '../../server/testing/certificates.js'
import { processesOf, startedPrograms } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
const programs = startedPrograms()
beforeAll(async () => {
  workshop = await openWorkshop()
  const authority = testAuthority()
  const { cert, key } = authority.issue(['127.0.0.1'])
  await Promise.all(
    Object.entries({ 'ca.pem': authority.cert, 'cert.pem': cert, 'key.pem': key }).map(([name, pem]) => writeFile(workshop.at(name), pem)),
  )
})
afterEach(() => programs.end(workshop.folder))
afterAll(() => workshop.remove())

const start = (...args: string[]) => programs.start(args, { cwd: workshop.folder, env: workshop.environment })
const run = (...args: string[]) => start(...args).ended

const SECURE = { transport: { tls: { cert: 'cert.pem', key: 'key.pem' }, token_file: 'tokens.json' } }
const CLIENT = ['client', '--model', 'model', '--threads', '1', '--ca', 'ca.pem']

test('clients join with the tokens that were made for them, one is put out by name, and nothing shows a token', async () => {
  for (const id of ['ada', 'bob']) expect(await run('token', 'create', id, '--out', `${id}.token`)).toMatchObject({ status: 0 })
  const federation = { num_rounds: 10_000, min_available_clients: 1 }
  const server = start('server', await workshop.config('secure.yaml', { ...SECURE, federation }), '--host', '0.0.0.0', '--port', '0')
  const { url, client } = await server.line({ event: 'listening' })
  const { run_dir } = await server.line({ event: 'start' })
  expect(client).toBe(`npx cutlayer client --server ${String(url)} --id NAME --token-file NAME.token`)
  const [ada, bob] = ['ada', 'bob'].map((id) => start(...CLIENT, '--server', String(url), '--id', id, '--token-file', `${id}.token`))
  await Promise.all([ada, bob].map((program) => program.line({ event: 'step', step: 0 })))
  const tokens = await Promise.all(['ada', 'bob'].map(async (id) => (await readFile(workshop.at(`${id}.token`), 'utf8')).trim()))
  const pids = [server, ada, bob].map(({ child }) => child.pid)
  const seen = (await processesOf('cli.js')).filter(({ pid }) => pids.includes(pid)).map(({ command }) => command)
  expect(seen).toHaveLength(3)

  expect(await run('token', 'revoke', 'bob')).toMatchObject({ status: 0 })
  expect(await bob.ended).toMatchObject({
    status: 6,
    envelope: { error: { code: 'TOKEN_REFUSED', why: expect.stringContaining('revoked') as string } },
  })
  // The other one goes on.
  const [latest] = ada.lines.filter(({ event }) => event === 'round-end').slice(-1)
  await ada.line({ event: 'round-end', round: Number(latest?.round ?? 0) + 2 })
  server.child.kill('SIGTERM')
  await Promise.all([server.ended, ada.ended])

  const files = await readdir(String(run_dir), { recursive: true, withFileTypes: true })
  const written = await Promise.all(
    files.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')),
  )
  expect(written.length).toBeGreaterThan(5)
  const said = [...written, ...seen, ...[server, ada, bob].map(({ lines }) => JSON.stringify(lines)), (await server.ended).stderr]
  const key = (await readFile(workshop.at('state', 'client-key'), 'utf8')).trim()
  for (const text of said) for (const secret of [...tokens, key]) expect(text).not.toContain(secret)
  for (const name of ['tokens.json', 'ada.token', 'bob.token']) expect((await stat(workshop.at(name))).mode & 0o777).toBe(0o600)
})

test('a server whose certificate cannot be used starts nothing and leaves nothing behind', async () => {
  const transport = { ...SECURE.transport, tls: { cert: 'cert.pem', key: 'ca.pem' } }
  await mkdir(workshop.at('empty'))
  const { status, envelope } = await run(
    'server',
    await workshop.config('bad.yaml', { transport, output: { output_dir: 'empty' } }),
    '--port',
    '0',
  )
  expect(status).toBe(6)
  expect(envelope).toMatchObject({
    exit_code: 613,
    error: { code: 'CERTIFICATE_UNUSABLE', what: expect.stringContaining('transport.tls.key names ca.pem') as string },
  })
  expect(await readdir(workshop.at('empty'))).toEqual([])
})

test('run has no use for TLS and tokens of others: it talks to its own clients on this machine', async () => {
  const transport = { tls: { cert: 'nowhere.pem', key: 'nowhere.pem' }, token_file: 'nowhere.json' }
  const { status } = await run('run', await workshop.config('run.yaml', { transport, federation: { num_rounds: 1 } }))
  expect(status).toBe(0)
})
