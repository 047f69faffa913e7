/**
 * @file Real processes that go and come back: clients that are killed under `restart_round`, clients that outlive their server, and clients that were away.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { EventLine, RoundLine } from '../../shared/run-records.js'
import { processesOf, type Program } from '../testing/program.js'
import type { Groups } from '../testing/small-run.js'
import { tcpProxy } from '../testing/tcp-proxy.js'
import { linesOf } from '../testing/whole-run.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('test')

function client(url: unknown, id: string, ...more: string[]): Program {
  return start('client', '--server', String(url), '--id', id, '--model', 'model', '--threads', '1', ...more)
}

async function pidOf(client: string): Promise<number> {
  const found = (await processesOf(workshop.folder)).filter(({ command }) => command.includes(`--id ${client} `))
  expect(found).toHaveLength(1)
  return found[0].pid
}

describe('run with restart_round', () => {
  const federation = { num_rounds: 2, local_steps: 40, on_client_loss: 'restart_round' }

  async function runDisturbed(
    kills: readonly string[],
    changes: Groups = {},
  ): Promise<{ adapter: Buffer; rounds: RoundLine[]; events: EventLine[] }> {
    const config = await workshop.config('restart.yaml', { ...changes, federation })
    const run = start('run', config)
    await run.line({ event: 'round', round: 0 })
    for (const id of kills) {
      // Its steps are in its log: kill it in the middle of the round.
      process.kill(await pidOf(id), 'SIGKILL')
      await run.line({ event: 'warning', reason: `${id} was ended by SIGKILL, and is started again (1 of 3 times)` })
    }
    const { status, envelope } = await run.ended
    expect(envelope.error).toBeUndefined()
    expect(status).toBe(0)
    const { run_dir, adapter_dir } = envelope.data as { run_dir: string; adapter_dir: string }
    return {
      adapter: await readFile(join(adapter_dir, 'adapter_model.safetensors')),
      rounds: await linesOf(join(String(run_dir), 'metrics', 'rounds.jsonl'), RoundLine),
      events: await linesOf(join(String(run_dir), 'events.jsonl'), EventLine),
    }
  }

  test('starts a client again that was killed, and ends with the adapter of a run in which nobody was', async () => {
    const calm = await runDisturbed([])
    const disturbed = await runDisturbed(['client-1', 'client-0'])
    expect(disturbed.adapter.equals(calm.adapter)).toBe(true)
    const numbers = ({ rounds }: typeof calm) =>
      rounds.map(({ round, train_loss, eval_loss, aggregation }) => ({ round, train_loss, eval_loss, aggregation }))
    expect(numbers(disturbed)).toEqual(numbers(calm))
    const told = (event: string) => disturbed.events.filter((entry) => entry.event === event)
    expect(new Set(told('leave').map(({ client }) => client))).toEqual(new Set(['client-0', 'client-1']))
    expect(told('join')).toHaveLength(4)
    expect(told('restart')).not.toHaveLength(0)
    expect(told('missing')).toEqual([])
  })
})

describe('a client', () => {
  test('outlives its server, and joins the one that is started in its place', async () => {
    const federation = { num_rounds: 1000, local_steps: 20, reconnect_s: 600 }
    const first = start('server', await workshop.config('first.yaml', { federation }), '--port', '0')
    const { url } = await first.line({ event: 'listening' })
    const clients = ['ada', 'bob'].map((id) => client(url, id))
    await first.line({ event: 'round', round: 1 })
    first.child.kill('SIGKILL')
    await first.ended
    const second = start(
      'server',
      await workshop.config('second.yaml', { federation: { ...federation, num_rounds: 2 } }),
      ...['--port', new URL(String(url)).port],
    )
    expect((await second.ended).status).toBe(0)
    for (const { ended, lines } of clients) {
      const { status, envelope } = await ended
      expect(status).toBe(0)
      expect(envelope.data).toMatchObject({ finished: 'the run has finished' })
      expect(lines.filter(({ event }) => event === 'welcome')).toHaveLength(2)
      expect(lines).toContainEqual(expect.objectContaining({ event: 'connection', state: 'waiting', seconds: 600 }))
    }
  })

  test('that was away for longer than reconnect_s joins again, and is part of the next round', async () => {
    const federation = { num_rounds: 1000, local_steps: 20, reconnect_s: 1 }
    const server = start('server', await workshop.config('away.yaml', { federation }), '--port', '0')
    const [{ url }, { run_dir }] = [await server.line({ event: 'listening' }), await server.line({ event: 'start' })]
    const proxy = await tcpProxy(Number(new URL(String(url)).port))
    try {
      const [bob] = [client(`http://127.0.0.1:${proxy.port}`, 'bob'), client(url, 'ada')]
      await bob.line({ event: 'step', round: 1 })
      proxy.shut()
      await server.line({ event: 'leave', client: 'bob' })
      await bob.line({ event: 'connection', state: 'waiting' })
      const { round } = (await server.line({ event: 'missing', client: 'bob' })) as { round: number }
      proxy.open()
      const roundsOfBob = () => bob.lines.filter(({ event }) => event === 'round-start').length
      const before = roundsOfBob()
      // A second round begins for it, so the first is over.
      await expect.poll(roundsOfBob, { timeout: 30_000 }).toBeGreaterThan(before + 1)
      server.child.kill('SIGTERM')
      await server.ended
      const rounds = await linesOf(join(String(run_dir), 'metrics', 'rounds.jsonl'), RoundLine)
      expect(rounds[round].aggregation).toMatchObject({ replies: 1, missing: ['bob'] })
      expect(rounds.slice(round).some(({ aggregation }) => aggregation?.replies === 2)).toBe(true)
      // Its model and rows were still open.
      expect(bob.lines.filter(({ event }) => event === 'data')).toHaveLength(1)
    } finally {
      await proxy.close()
    }
  })
})
