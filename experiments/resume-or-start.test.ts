import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commands as serverCommands } from '../server/command.js'
import { serviceRun } from '../server/resume/or-start.js'
import { loadConfig } from '../shared/config/load.node.js'
import { runExperiment } from './experiment.js'
import { typeForScript } from './testing/type.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

let workshop: Workshop
let run: string
const load = (...overrides: string[]) => loadConfig(workshop.at('service.yaml'), overrides)
const home = process.cwd()
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.chdir(workshop.folder)
  await workshop.config('service.yaml', {
    model: { engine: 'reference' },
    transport: { kind: 'memory' },
    output: { output_dir: workshop.at('runs'), run_name: 'phones' },
  })
  run = (await runExperiment(await load())).run_dir
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

const typeServer = (...args: string[]) => typeForScript<unknown>(serverCommands, 'server', ...args)

test('a run that is over stays over, and whoever starts the service hears so', async () => {
  expect(await serviceRun(await load())).toEqual({ state: 'over', folder: run, name: 'phones' })
  expect(await typeServer('service.yaml', '--resume-or-start')).toMatchObject({ status: 'ok', data: { run_dir: run, finished: true } })
  expect((await readdir(workshop.at('runs'))).length).toBe(1)
})

test('with more rounds it goes on, and with another name or folder another begins', async () => {
  const more = await serviceRun(await load('federation.num_rounds=3'))
  expect(more).toMatchObject({ state: 'interrupted', run: { folder: run, wasComplete: true } })
  if (more.state === 'interrupted') more.run.lock.release()
  expect(await serviceRun(await load('output.run_name=laptops'))).toEqual({ state: 'new' })
  expect(await serviceRun(await load('output.output_dir=elsewhere'))).toEqual({ state: 'new' })
})

test('a config that is no longer the run’s is refused, with what a service can do', async () => {
  const refused = serviceRun(await load('train.learning_rate=0.5'))
  await expect(refused).rejects.toMatchObject({
    code: 'RESUME_DIFFERS',
    why: expect.stringContaining('train.learning_rate') as string,
    fix: expect.stringMatching(/output\.run_name.*config\.yaml$/) as string,
  })
})

test('the newest run of the name counts, and not what a process left that was killed while it made a folder', async () => {
  const later = join(
    workshop.at('runs'),
    basename(run)
      .replace(/^\d{8}/, '99991231')
      .replace(/.{3}$/, 'abc'),
  )
  await mkdir(later)
  await writeFile(join(later, 'config.yaml'), '')
  expect(await serviceRun(await load())).toMatchObject({ state: 'over', folder: run })
  await rename(later, workshop.at('aside'))
})

test('--resume and --resume-or-start exclude each other, and the latter needs a config', async () => {
  expect((await typeServer('service.yaml', '--resume', 'phones', '--resume-or-start')).error?.code).toBe('BAD_ARGUMENT')
  expect((await typeServer('--resume-or-start')).error?.code).toBe('BAD_ARGUMENT')
})
