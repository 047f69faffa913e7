/**
 * @file Ctrl-C at every stage, by real signals to real processes: what is left is whole, whenever it comes.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { derive } from '../../shared/random.js'
import { StepLine, Summary } from '../../shared/run-records.js'
import { processesOf, type Program } from '../testing/program.js'
import { withChanges, type Groups } from '../testing/small-run.js'
import { expectGoodOrder, expectWholeAdapter, expectWholeLogs, linesOf, runsIn } from '../testing/whole-run.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('file')

/** Goes on until it is stopped, in rounds so short that signals meet all that is done in one. */
const ENDLESS: Groups = {
  // In one thread, so that many of them start quickly; some cases take the other.
  model: { engine: 'reference' },
  federation: { num_rounds: 100_000, local_steps: 3, reconnect_s: 5 },
  transport: { kind: 'memory' },
}
const ONNX: Groups = { model: { engine: 'onnx' } }

let configs = 0
/** A config whose runs go to a folder of their own. */
async function config(changes: Groups): Promise<{ readonly name: string; readonly outputDir: string }> {
  const outputDir = `runs-${configs++}`
  return {
    name: await workshop.config(`${outputDir}.yaml`, { ...withChanges(ENDLESS, changes), output: { output_dir: outputDir } }),
    outputDir: workshop.at(outputDir),
  }
}

async function expectNoTemporaries(): Promise<void> {
  const entries = await readdir(workshop.folder, { recursive: true })
  expect(entries.filter((name) => name.endsWith('.tmp') || /(^|\/)cutlayer-/.test(name))).toEqual([])
}

/** When the signal comes: upon an event, or so many milliseconds after the start. */
const MOMENTS: readonly (readonly [string, Readonly<Record<string, unknown>> | number, Groups])[] = [
  ['before the model is opened', { event: 'notice' }, {}],
  ['when the folder has just been made', { event: 'start' }, {}],
  ['when clients join', { event: 'join' }, {}],
  ['after the evaluation before training', { event: 'round', round: 0 }, {}],
  ['after a round', { event: 'round', round: 2 }, ONNX],
  ['after a round, the top sequential', { event: 'round', round: 1 }, { federation: { top: 'sequential' } }],
  ['after a round, the top replicated', { event: 'round', round: 1 }, { federation: { top: 'replicated' } }],
  ['after a round, with whole models on the clients', { event: 'round', round: 1 }, { split: { topology: 'federated' } }],
  ['while client processes load', { event: 'start' }, { transport: { kind: 'socket' } }],
  ['in the rounds of client processes', { event: 'round', round: 1 }, { ...ONNX, transport: { kind: 'socket' } }],
  ...Array.from({ length: 8 }, (_, index) => {
    const delayMs = 600 + derive(4, 'interrupt', index).below(3000)
    return [`after ${delayMs} ms`, delayMs, index % 4 === 3 ? { transport: { kind: 'socket' } } : index % 4 === 2 ? ONNX : {}] as const
  }),
]

describe('a run that is asked once to stop leaves whole files and ends with 130', () => {
  test.concurrent.each(MOMENTS)('%s', async (_, moment, changes) => {
    const { name, outputDir } = await config(changes)
    const run = start('run', name)
    // Before its first line the program is Node's, which a signal simply ends.
    await run.line({ event: 'notice' })
    await (typeof moment === 'number' ? setTimeout(moment) : run.line(moment))
    run.child.kill('SIGINT')
    await expectGoodOrder(await run.ended, outputDir)
    expect(run.lines.filter(({ event }) => event === 'stopping')).toHaveLength(1)
  })
})

describe('a run that is told twice', () => {
  test.concurrent.each([0, 40, 300])('the second time %i ms later, ends with 130 and leaves whole lines', async (laterMs) => {
    const { name, outputDir } = await config({ ...ONNX, transport: { kind: laterMs === 0 ? 'socket' : 'memory' } })
    const run = start('run', name)
    await run.line({ event: 'round', round: 1 })
    run.child.kill('SIGINT')
    await setTimeout(laterMs)
    run.child.kill('SIGINT')
    const { status, envelope } = await run.ended
    expect(status).toBe(130)
    expect(envelope).toMatchObject({ exit_code: 130 })
    for (const folder of await runsIn(outputDir)) await expectWholeLogs(folder)
  })
})

test('a run that is told as it ends keeps the ending that it told', async () => {
  const { name, outputDir } = await config({ federation: { num_rounds: 1 } })
  const run = start('run', name)
  await run.line({ event: 'round', round: 1 })
  run.child.kill('SIGTERM')
  const { status, envelope } = await run.ended
  expect(status).toBe(envelope.exit_code)
  const [folder] = await runsIn(outputDir)
  await expectWholeAdapter(folder!, await expectWholeLogs(folder!))
  const { status: written } = Summary.parse(JSON.parse(await readFile(join(folder!, 'metrics', 'summary.json'), 'utf8')))
  expect([0, 130]).toContain(status)
  if (status === 0) expect(written).toBe('complete')
})

describe('a server and its clients, each a process of its own:', () => {
  async function open(changes: Groups = {}) {
    const { name, outputDir } = await config(changes)
    const server = start('server', name, '--port', '0')
    const { url } = await server.line({ event: 'listening' })
    const join = (id: string): Program =>
      start('client', '--server', String(url), '--id', id, '--model', 'model', '--engine', 'reference', '--threads', '1')
    return { server, outputDir, join }
  }

  test.concurrent('the server, told while it waits for clients, tells the one that is there why it ends', async () => {
    const { server, outputDir, join } = await open()
    const ada = join('ada')
    await ada.line({ event: 'ready' })
    server.child.kill('SIGINT')
    await expectGoodOrder(await server.ended, outputDir)
    expect(await ada.ended).toMatchObject({ status: 0, envelope: { data: { finished: 'the server was stopped' } } })
  })

  test.concurrent('the server, told in a step, lets every client make it, and tells them why it ends', async () => {
    const { server, outputDir, join } = await open()
    const clients = [join('ada'), join('bob')]
    await clients[1]!.line({ event: 'step', round: 2, step: 1 })
    server.child.kill('SIGINT')
    await expectGoodOrder(await server.ended, outputDir)
    const endings = await Promise.all(clients.map(({ ended }) => ended))
    for (const ending of endings) expect(ending).toMatchObject({ status: 0, envelope: { data: { finished: 'the server was stopped' } } })
    const [folder] = await runsIn(outputDir)
    const steps = await linesOf(`${folder}/metrics/steps.jsonl`, StepLine)
    const { round, step } = steps.findLast(({ client }) => client === null)!
    // The top moved with the gradients of both in the last step that it made.
    const before = steps.filter((line) => line.client === null && line.round === round).map((line) => line.step)
    expect(before).toEqual(Array.from({ length: step + 1 }, (_, index) => index))
  })

  test.concurrent('a client, told in a step, makes it and leaves; the run goes on without it', async () => {
    const { server, outputDir, join } = await open()
    const [ada, bob] = [join('ada'), join('bob')]
    await bob.line({ event: 'step', round: 1, step: 0 })
    bob.child.kill('SIGINT')
    expect(await bob.ended).toMatchObject({ status: 130, envelope: { exit_code: 130, data: { client: 'bob', finished: null } } })
    expect(await server.line({ event: 'leave' })).toMatchObject({ client: 'bob', reason: 'the client was stopped by whoever runs it' })
    const { round } = (await server.line({ event: 'missing' })) as { round: number }
    await ada.line({ event: 'round-start', round: round + 1 })
    server.child.kill('SIGINT')
    await expectGoodOrder(await server.ended, outputDir)
    await ada.ended
  })

  test.concurrent('a client, told while it loads, leaves as politely', async () => {
    const { server, join, outputDir } = await open()
    const ada = join('ada')
    await ada.line({ event: 'welcome' })
    ada.child.kill('SIGTERM')
    expect(await ada.ended).toMatchObject({ status: 130, envelope: { exit_code: 130 } })
    expect(await server.line({ event: 'leave' })).toMatchObject({ client: 'ada', reason: 'the client was stopped by whoever runs it' })
    server.child.kill('SIGTERM')
    await expectGoodOrder(await server.ended, outputDir)
  })
})

test('after all of it there is no process and no temporary file left', async () => {
  expect(await processesOf(workshop.folder)).toEqual([])
  await expectNoTemporaries()
})
