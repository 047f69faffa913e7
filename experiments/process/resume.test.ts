/**
 * @file Runs whose processes are killed at any moment and which then go on, end with the numbers of a run that nothing happened to, bit for bit.
 *
 * Moments are drawn from seeds. Where a kill meets a process still depends on the machine; what must come of it does not.
 */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { childrenOf, processesOf, type Program } from '../testing/program.js'
import { drawBlows, killProcess, numbersOf, runUnderBlows, type Blow, type KilledRun, type RunUnderBlows } from '../testing/killed-run.js'
import { withChanges, type Groups } from '../testing/small-run.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('file')

/** Rounds of three steps with two clients, in which a lost client is waited for. */
const SMALL: Groups = {
  model: { engine: 'reference', threads: 1 },
  train: { lr_scheduler_type: 'cosine', warmup_ratio: 0.2 },
  federation: { num_rounds: 8, local_steps: 3, on_client_loss: 'restart_round', reconnect_s: 20 },
}

let configs = 0
async function config(changes: Groups): Promise<string> {
  return workshop.config(`case-${configs++}.yaml`, withChanges(SMALL, changes))
}

let hits = 0

/** The same config undisturbed, over memory: links change no number. */
async function expectSame(name: string, killed: KilledRun): Promise<void> {
  hits += killed.hits
  expect(killed.ending).toMatchObject({ status: 0, envelope: { status: 'ok' } })
  const whole = start('run', name, 'transport.kind=memory')
  const { run_dir: folder } = (await whole.line({ event: 'start' })) as { run_dir: string }
  expect((await whole.ended).status).toBe(0)
  expect(await numbersOf(killed.folder)).toEqual(await numbersOf(folder))
}

/** `cutlayer run`, which starts its clients and, where they are processes, starts one again that was killed. */
function byRun(name: string): RunUnderBlows {
  return {
    first: () => start('run', name),
    again: (folder) => start('run', '--resume', folder),
    async killClient({ child }) {
      const clients = (await childrenOf(child.pid!)).filter(({ command }) => command.includes('--id client-1'))
      for (const { pid } of clients) killProcess(pid)
    },
  }
}

const all = (count: number): Blow['whom'][] => Array.from({ length: count }, () => 'all')

describe('run over memory, killed and gone on with again and again, ends as if nothing had happened:', () => {
  test.concurrent.each<[string, number, Groups]>([
    ['a joint top', 5, {}],
    ['few who train, with moments of their own', 4, { federation: { optimizer_state: 'keep', fraction_train: 0.5 } }],
    ['copies of the top with moments of their own', 3, { federation: { top: 'replicated', optimizer_state: 'keep' } }],
    ['an adapter for each client', 2, { split: { topology: 'local' } }],
  ])('%s', async (_, count, changes) => {
    const name = await config({ ...changes, transport: { kind: 'memory' } })
    await expectSame(name, await runUnderBlows(byRun(name), drawBlows(count, all(count))))
  })
})

describe('run over sockets, killed with its clients or without one of them, ends as if nothing had happened:', () => {
  test.concurrent.each<[string, number, Blow['whom'][], Groups]>([
    ['a sequential top', 8, ['all', 'client', 'all'], { federation: { top: 'sequential' } }],
    ['moments that clients keep', 9, ['client', 'all', 'client'], { federation: { optimizer_state: 'keep' } }],
  ])('%s', async (_, seed, whom, changes) => {
    const name = await config(changes)
    await expectSame(name, await runUnderBlows(byRun(name), drawBlows(seed, whom)))
  })
})

describe('a server and clients of its own, killed each for itself, end as if nothing had happened:', () => {
  test.concurrent('clients find the server again that goes on, and one that was killed is started again', async () => {
    const name = await config({ federation: { optimizer_state: 'keep', top: 'joint' } })
    let url = ''
    const clients = new Map<string, Program>()
    const join = (id: string, part: string): void => {
      clients.set(
        id,
        start('client', '--server', url, '--id', id, '--part', part, '--model', 'model', '--engine', 'reference', '--threads', '1'),
      )
    }
    const served = async (program: Program): Promise<void> => {
      url = String((await program.line({ event: 'listening' })).url)
    }
    const run: RunUnderBlows = {
      first() {
        const program = start('server', name, '--port', '0')
        void served(program).then(() => {
          join('client-0', '0/2')
          join('client-1', '1/2')
        })
        return program
      },
      again: (folder) => start('server', '--resume', folder, '--port', new URL(url).port),
      async killClient() {
        const { child, ended } = clients.get('client-1')!
        child.kill('SIGKILL')
        await ended
        join('client-1', '1/2')
      },
    }
    const killed = await runUnderBlows(run, drawBlows(3, ['program', 'client', 'program', 'program', 'client']))
    for (const { ended } of clients.values()) expect((await ended).status).toBe(0)
    await expectSame(name, killed)
  })
})

test('after all of it more than twenty blows have hit, no process is left, and clients keep nothing', async () => {
  expect(hits).toBeGreaterThanOrEqual(20)
  expect(await processesOf(workshop.folder)).toEqual([])
  expect(
    existsSync(workshop.at('state'))
      ? (await readdir(workshop.at('state'), { recursive: true })).filter((name) => name.includes('round-'))
      : [],
  ).toEqual([])
})
