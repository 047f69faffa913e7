/**
 * @file `inspect --follow` beside a run of another process: until it ends, is killed, or the follower is told to leave.
 */
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createRunDirectory } from '../../server/run-directory.js'
import { Config } from '../../shared/config/schema.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, start } = programWorkshop('test')

/** A run that no test waits for the end of. */
const ENDLESS = { num_rounds: 1000, local_steps: 500 }

describe('a run that is followed', () => {
  test('is told from before its first round to its end, which ends the follower too', async () => {
    const run = start(
      'run',
      await workshop.config('some.yaml', { federation: { num_rounds: 2, local_steps: 3 }, transport: { kind: 'memory' } }),
    )
    const { run_dir } = await run.line({ event: 'start' })
    const follower = start('inspect', '--follow')
    const { status, envelope } = await follower.ended
    expect(status).toBe(0)
    expect(envelope.data).toMatchObject({
      run_dir,
      status: 'complete',
      followed: 'over',
      rounds: [{ round: 0 }, { round: 1 }, { round: 2 }],
      warnings: [],
    })
    const told = follower.lines
    expect(told[0]).toMatchObject({ event: 'follow', run_dir })
    expect(told.filter(({ event }) => event === 'round').map(({ round }) => round)).toEqual([0, 1, 2])
    expect(told.filter(({ event }) => event === 'end')).toHaveLength(1)
    expect((await run.ended).envelope.data).toMatchObject({
      rounds: told.filter(({ event }) => event === 'round').map(({ event: _, ...facts }) => facts),
    })
  })

  test('is not disturbed when the follower is told to leave, which it does at once with 130', async () => {
    const run = start('run', await workshop.config('endless.yaml', { federation: ENDLESS }))
    const { run_dir } = await run.line({ event: 'start' })
    const follower = start('inspect', String(run_dir), '--follow', '--client', 'client-1')
    const step = await follower.line({ event: 'step', step: 1 })
    follower.child.kill('SIGINT')
    const { status, envelope } = await follower.ended
    expect(status).toBe(130)
    expect(envelope).toMatchObject({ exit_code: 130, error: { code: 'INTERRUPTED' } })
    expect(follower.lines.filter(({ event }) => event === 'step').map(({ client }) => client)).not.toContain('client-0')
    // The run goes on beyond what the first follower saw.
    const next = start('inspect', String(run_dir), '--follow')
    await next.line({ event: 'step', step: Number(step.step) + 10 })
    run.child.kill('SIGINT')
    expect((await next.ended).envelope.data).toMatchObject({ status: 'interrupted', followed: 'over' })
  })

  test('is said to have died when its process is killed', async () => {
    const run = start('run', await workshop.config('endless.yaml', { federation: ENDLESS, transport: { kind: 'memory' } }))
    await run.line({ event: 'round', round: 0 })
    const follower = start('inspect', '--follow')
    await follower.line({ event: 'step', step: 1 })
    run.child.kill('SIGKILL')
    const { status, envelope } = await follower.ended
    expect(status).toBe(0)
    expect(envelope.data).toMatchObject({ status: 'unfinished', followed: 'died' })
    expect((envelope.data as { warnings: string[] }).warnings.at(-1)).toContain(`its process ${run.child.pid} is gone`)
  })
})

describe('a run that nobody writes any more', () => {
  const model = { name: 'tiny', digest: 'abc', family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }
  const create = (): ReturnType<typeof createRunDirectory> =>
    createRunDirectory({ outputDir: workshop.at('runs'), name: 'old', id: 'aaaa', config: Config.parse({}), metadata: { argv: [], model } })
  const round = {
    round: 0,
    attempt: 0,
    train_loss: null,
    eval_loss: 3,
    eval_perplexity: 20,
    eval_bits_per_byte: null,
    seconds: 1,
    clients: [],
    aggregation: null,
  }

  test('is shown and left at once if it is over', async () => {
    const directory = create()
    directory.appendRound(round)
    const nothing = { before: null, last: null, best: null, uplink_bytes: 0, downlink_bytes: 0, error: null }
    directory.writeSummary({
      status: 'complete',
      started: new Date(0).toISOString(),
      ended: new Date(0).toISOString(),
      seconds: 0,
      rounds: 0,
      ...nothing,
    })
    directory.close()
    const { envelope } = await start('inspect', 'old', '--follow').ended
    expect(envelope.data).toMatchObject({ status: 'complete', followed: 'over', rounds: [{ round: 0 }] })
  })

  test('is read to a last line that was cut, and said to have died', async () => {
    const directory = create()
    directory.appendRound(round)
    directory.close()
    await appendFile(join(directory.folder, 'metrics/rounds.jsonl'), '{"round":1,"att')
    // A process that was.
    const gone = start('doctor')
    await gone.ended
    const metadata = JSON.parse(await readFile(join(directory.folder, 'metadata.json'), 'utf8')) as { pid: number; host: { name: string } }
    expect([metadata.pid, metadata.host.name]).toEqual([process.pid, hostname()])
    await writeFile(join(directory.folder, 'metadata.json'), JSON.stringify({ ...metadata, pid: gone.child.pid }))
    const { envelope } = await start('inspect', '--follow').ended
    const warnings = [expect.stringContaining('cut off in the middle'), expect.stringContaining('is gone')]
    expect(envelope.data).toMatchObject({ followed: 'died', rounds: [{ round: 0 }], warnings })
  })

  test('is an error by name where there is none, or where one round is asked for', async () => {
    await rm(workshop.at('runs'), { recursive: true, force: true })
    expect((await start('inspect', '--follow').ended).envelope.error?.code).toBe('RUN_NOT_FOUND')
    expect((await start('inspect', '--follow', '--round', '1').ended).envelope.error?.code).toBe('BAD_ARGUMENT')
  })
})
