/**
 * @file Strategies and data sets of the user's own in real processes: where they fail, and where a server names them to clients.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Metadata, RoundLine, Summary } from '../../shared/run-records.js'
import { startProgram, type Program } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

const start = (...args: string[]): Program => startProgram(args, { cwd: workshop.folder, env: workshop.environment })
const json = async (...path: string[]): Promise<unknown> => JSON.parse(await readFile(join(...path), 'utf8'))

/** The one run of an output folder, of which an error's envelope does not tell. */
async function runIn(program: Program): Promise<string> {
  const { run_dir } = (await program.line({ event: 'start' })) as { run_dir: string }
  return run_dir
}

describe('a strategy that fails in its second round ends the run with what it did, and leaves the adapter of the first', () => {
  test.each([
    ['throws', 'return missing', 'aggregate in round 2 threw ReferenceError: missing is not defined (line 2)'],
    ['loses tensors', 'return { adapter: new Map() }', 'what aggregate in round 2 answered is wrong: adapter lacks '],
    [
      'makes no numbers',
      'return { adapter: new Map([...average()].map(([name, { shape, data }]) => [name, { shape, data: data.map(() => NaN) }])) }',
      'is NaN, and has to be a finite number',
    ],
  ])('when it %s', async (name, second, why) => {
    const file = `${name.replaceAll(' ', '-')}.mjs`
    await writeFile(
      workshop.at(file),
      `export default { create: () => ({ aggregate(replies, { round, average }) {\n  if (round === 2) { ${second} }\n  return { adapter: average() }\n} }) }`,
    )
    const config = await workshop.config(`${file}.yaml`, {
      model: { model_name_or_path: 'model', engine: 'reference' },
      federation: { num_rounds: 3, num_clients: 2, local_steps: 1, strategy: `./${file}` },
      transport: { kind: 'memory' },
    })
    const program = start('run', config)
    const run = await runIn(program)
    const { status, envelope } = await program.ended
    expect(status).toBe(2)
    expect(envelope.error).toMatchObject({ code: 'BAD_STRATEGY', what: `the strategy in ./${file} cannot be used` })
    expect(envelope.error!.why).toContain(why)
    expect(Summary.parse(await json(run, 'metrics', 'summary.json'))).toMatchObject({
      status: 'failed',
      rounds: 1,
      error: { code: 'BAD_STRATEGY' },
    })
    const rounds = (await readFile(join(run, 'metrics', 'rounds.jsonl'), 'utf8')).trimEnd().split('\n')
    expect(rounds.map((line) => RoundLine.parse(JSON.parse(line)).round)).toEqual([0, 1])
    expect(await readFile(join(run, 'adapter', 'README.md'), 'utf8')).toMatch(/Rounds\W+1\b/)
    if (name === 'throws') expect(await readFile(join(run, 'logs', 'server.log'), 'utf8')).toMatch(/ReferenceError.*throws\.mjs/)
  })
})

describe('Node cannot import every file, and it is told why, and what helps:', () => {
  const good = 'export default { create: () => ({ aggregate: (replies, { average }) => ({ adapter: average() }) }) }'
  const withoutDetection = { NODE_OPTIONS: '--no-experimental-detect-module --no-experimental-require-module' }
  const validate = async (file: string, code: string, env: NodeJS.ProcessEnv = {}) => {
    await writeFile(workshop.at(file), code)
    const config = await workshop.config('validated.yaml', { federation: { num_clients: 2, strategy: file } })
    return startProgram(['validate', config], { cwd: workshop.folder, env: { ...workshop.environment, ...env } }).ended
  }

  test('a mistake in JavaScript', async () => {
    const { status, envelope } = await validate('mistaken.mjs', 'export default {\n  create() {},,\n}')
    expect(status).toBe(2)
    expect(envelope.error).toMatchObject({
      why: expect.stringMatching(/^importing it threw SyntaxError: /) as string,
      fix: 'correct it: node mistaken.mjs shows where',
    })
  })

  test('a module called .js where Node takes that for CommonJS', async () => {
    const { status, envelope } = await validate('module.js', good, withoutDetection)
    expect([status, envelope.error!.fix]).toEqual([2, 'name the file module.mjs'])
    expect((await validate('module.mjs', good, withoutDetection)).status).toBe(0)
  })

  test('TypeScript where Node does not run it', async () => {
    const typed = good.replace('replies,', 'replies: readonly unknown[],').replace('{ average }', '{ average }: { average(): unknown }')
    const { status, envelope } = await validate('typed.mts', typed)
    const stripsTypes = 'typescript' in process.features && process.features.typescript !== false
    expect(status).toBe(stripsTypes ? 0 : 2)
    if (!stripsTypes) expect(envelope.error!.why).toContain('takes Node 22.18 or newer')
  })
})

test('the clients of a server get no code from it: they name the data set themselves, and then have the parts that it gives', async () => {
  await writeFile(workshop.at('own.mjs'), 'export default () => Array.from({ length: 12 }, (_, i) => ({ text: `row${i}` }))')
  const config = await workshop.config('served.yaml', {
    model: { model_name_or_path: 'model', engine: 'reference' },
    data: { path: null, dataset: './own.mjs', max_length: 32 },
    federation: { num_rounds: 1, num_clients: 2, local_steps: 1 },
  })
  const server = start('server', config, '--port', '0')
  const { url, client: line } = (await server.line({ event: 'listening' })) as { url: string; client: string }
  expect(line).toContain(' --dataset ./own.mjs')
  const client = (id: string, ...flags: string[]) =>
    start('client', '--server', url, '--id', id, '--model', 'model', '--engine', 'reference', ...flags)
  const refused = await client('ada', '--part', '0/2').ended
  expect(refused.status).toBe(4)
  expect(refused.envelope.error).toMatchObject({
    code: 'DATA_NOT_FOUND',
    what: "the config's data set, ./own.mjs, is not opened",
    fix: expect.stringContaining('--dataset') as string,
  })
  const both = await client('ada', '--dataset', 'own.mjs', '--data', 'rows.jsonl').ended
  expect(both.envelope.error).toMatchObject({ code: 'BAD_ARGUMENT', what: 'this client cannot take both --data and --dataset' })
  const [ada, ben] = [client('ada', '--dataset', 'own.mjs'), client('ben', '--data', './own.mjs')]
  const [first, second, { status, envelope }] = await Promise.all([ada.ended, ben.ended, server.ended])
  // Half of twelve rows, and all of them, but for a tenth that is held out.
  expect(first.envelope.data).toMatchObject({ examples: 5 })
  expect(second.envelope.data).toMatchObject({ examples: 11 })
  expect(status).toBe(0)
  const { run_dir: run } = envelope.data as { run_dir: string }
  const { code } = Metadata.parse(await json(run, 'metadata.json'))
  expect(code).toEqual({ dataset: { path: './own.mjs', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string } })
})
