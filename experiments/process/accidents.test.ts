/**
 * @file What a run does when its processes are killed or told to end: it goes on, or says what it failed of, and leaves whole files.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Summary } from '../../shared/run-records.js'
import { processesOf, type Program } from '../testing/program.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('test')

/** More rounds than any test waits for, of so many steps that what is done in the first seconds is done in mid-round. */
const ENDLESS = { num_rounds: 1000, local_steps: 500, reconnect_s: 2 }

/** A run of two rounds, each too long to be over before a test has looked. */
const LONG = { ...ENDLESS, num_rounds: 2, local_steps: 100 }

async function killClients(...ids: string[]): Promise<void> {
  const clients = (await processesOf(workshop.folder)).filter(({ command }) => ids.some((id) => command.includes(`--id ${id} `)))
  expect(clients).toHaveLength(ids.length)
  for (const { pid } of clients) process.kill(pid, 'SIGKILL')
}

async function summaryOf(runDir: unknown): Promise<Summary> {
  return Summary.parse(JSON.parse(await readFile(join(String(runDir), 'metrics', 'summary.json'), 'utf8')))
}

describe('a run whose clients are killed', () => {
  test('goes on without one, and the line of the round says who is missing', async () => {
    const run = start('run', await workshop.config('one.yaml', { federation: LONG }))
    const { run_dir } = await run.line({ event: 'start' })
    await run.line({ event: 'round', round: 0 })
    await killClients('client-1')
    expect(await run.line({ event: 'missing' })).toMatchObject({ client: 'client-1', round: 1 })
    const { status, envelope } = await run.ended
    expect(status).toBe(0)
    expect(envelope.data).toMatchObject({ rounds: [{ round: 0 }, { round: 1 }, { round: 2 }] })
    const rounds = await readFile(join(String(run_dir), 'metrics', 'rounds.jsonl'), 'utf8')
    const missing = rounds.trimEnd().split('\n').slice(1)
    expect(missing.map((line) => (JSON.parse(line) as { aggregation: unknown }).aggregation)).toMatchObject([
      { replies: 1, missing: ['client-1'] },
      { replies: 1, missing: [] },
    ])
  })

  test('ends with a named error when none is left', async () => {
    // An hour would pass before the server gave them up; who started them knows better.
    const federation = { ...ENDLESS, reconnect_s: 3600 }
    const run = start('run', await workshop.config('all.yaml', { federation }))
    const { run_dir } = await run.line({ event: 'start' })
    await run.line({ event: 'round', round: 0 })
    await killClients('client-0', 'client-1')
    const { status, envelope } = await run.ended
    expect(status).toBe(3)
    expect(envelope.error).toMatchObject({ code: 'CLIENT_FAILED', why: 'it was ended by SIGKILL' })
    expect(await summaryOf(run_dir)).toMatchObject({ status: 'failed', rounds: 0, error: { code: 'CLIENT_FAILED' } })
  })

  test('goes on with one that is started again, though nothing is left of what both ends remembered of its rows', async () => {
    const transport = { activation_codec: 'delta+int8', gradient_codec: 'lowrank:rank=1+int8' }
    const federation = { ...ENDLESS, local_steps: 20, reconnect_s: 600 }
    const server = start('server', await workshop.config('again.yaml', { federation, transport }), '--port', '0')
    const [{ url }, { run_dir }] = [await server.line({ event: 'listening' }), await server.line({ event: 'start' })]
    const client = (id: string): Program => start('client', '--server', String(url), '--id', id, '--model', 'model', '--threads', '1')
    const [, bob] = [client('ada'), client('bob')]
    // Rows have come back by then.
    await server.line({ event: 'round', round: 2 })
    bob.child.kill('SIGKILL')
    await bob.ended
    const again = client('bob')
    const { round } = await again.line({ event: 'round-start' })
    await again.line({ event: 'round-start', round: Number(round) + 1 })
    server.child.kill('SIGTERM')
    expect((await server.ended).status).toBe(130)
    const rounds = (await readFile(join(String(run_dir), 'metrics', 'rounds.jsonl'), 'utf8')).trimEnd().split('\n')
    expect(JSON.parse(rounds[Number(round)])).toMatchObject({ round, aggregation: { replies: 2, missing: [] } })
    for (const line of rounds) expect((JSON.parse(line) as { eval_loss: number | null }).eval_loss).toBeGreaterThan(0)
  })

  test('ends so too when the server waits for clients that nobody starts', async () => {
    const server = start('server', await workshop.config('hand.yaml', { federation: ENDLESS }), '--port', '0')
    const [{ url }, { run_dir }] = [await server.line({ event: 'listening' }), await server.line({ event: 'start' })]
    const clients = ['ada', 'bob'].map((id) => start('client', '--server', String(url), '--id', id, '--model', 'model', '--threads', '1'))
    await server.line({ event: 'round', round: 0 })
    for (const { child } of clients) child.kill('SIGKILL')
    const { status, envelope } = await server.ended
    expect(status).toBe(1)
    expect(envelope.error).toMatchObject({ code: 'ROUND_FAILED', why: expect.stringContaining('is without') as string })
    expect(await summaryOf(run_dir)).toMatchObject({ status: 'failed', rounds: 0, error: { code: 'ROUND_FAILED' } })
  })
})

test('clients whose server is killed end with CONNECTION_LOST if they are not to wait for it', async () => {
  const server = start('server', await workshop.config('server.yaml', { federation: ENDLESS }), '--port', '0')
  const { url } = await server.line({ event: 'listening' })
  const clients = ['ada', 'bob'].map((id) => start('client', '--server', String(url), '--id', id, '--model', 'model', '--retry-s', '0'))
  await Promise.all(clients.map((client) => client.line({ event: 'step', step: 0 })))
  server.child.kill('SIGKILL')
  for (const { status, envelope } of await Promise.all(clients.map(({ ended }) => ended))) {
    expect(status).toBe(6)
    expect(envelope).toMatchObject({ exit_code: 607, error: { code: 'CONNECTION_LOST' } })
  }
})

describe('a run that is told to end', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('by %s keeps the adapter of its last round, whole, and ends with 130', async (signal) => {
    const federation = { ...ENDLESS, local_steps: 5 }
    const run = start('run', await workshop.config('long.yaml', { federation }))
    await run.line({ event: 'round', round: 1 })
    run.child.kill(signal)
    const { status, envelope } = await run.ended
    expect(envelope).toMatchObject({ status: 'error', exit_code: 130, error: { code: 'INTERRUPTED' } })
    expect(status).toBe(130)
    const { run_dir, adapter_dir } = envelope.data as { run_dir: string; adapter_dir: string }
    expect(await summaryOf(run_dir)).toMatchObject({ status: 'interrupted', error: null })
    const names = ['README.md', 'adapter_config.json', 'adapter_model.safetensors']
    expect((await readdir(adapter_dir)).sort()).toEqual(names)
    expect((await readdir(join(run_dir, 'adapter-best'))).sort()).toEqual(names)
    expect(await processesOf(workshop.folder)).toEqual([])
    const evaluated = await start('eval', '--model', 'model', '--adapter', adapter_dir, '--data', 'rows.jsonl').ended
    expect(evaluated.status).toBe(0)
  })

  test('before its first round is over has no adapter, and says so', async () => {
    const run = start('run', await workshop.config('early.yaml', { federation: ENDLESS }))
    const { run_dir } = await run.line({ event: 'start' })
    run.child.kill('SIGINT')
    const { status, envelope } = await run.ended
    expect(status).toBe(130)
    expect(envelope.data).toMatchObject({ run_dir, adapter_dir: null })
    expect(await summaryOf(run_dir)).toMatchObject({ status: 'interrupted', rounds: 0 })
  })

  test('twice ends at once, and leaves no client and no token behind', async () => {
    const run = start('run', await workshop.config('twice.yaml', { federation: ENDLESS }))
    await run.line({ event: 'join' })
    run.child.kill('SIGINT')
    run.child.kill('SIGTERM')
    const { status, envelope } = await run.ended
    expect(status).toBe(130)
    expect(envelope).toMatchObject({ exit_code: 130 })
    // They were killed as the run's last act, and the system takes a moment to clear them away.
    await expect.poll(() => processesOf(workshop.folder), { timeout: 10_000 }).toEqual([])
    expect((await readdir(workshop.folder)).filter((name) => name.startsWith('cutlayer-'))).toEqual([])
  })
})
