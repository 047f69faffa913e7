/**
 * @file What README.md says on strategies, data sets and the library of one's own, done as it is written there: its files are saved, its
 * commands typed, its programs compiled against the built package and run.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { Metadata, RoundLine } from '../../shared/run-records.js'
import { packageRoot } from '../../shared/version.node.js'
import { startProgram } from '../testing/program.js'

/** Nothing here is timed; this ends what hangs. */
const LIMIT_MS = 300_000

let folder: string
let readme: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-readme-'))
  readme = await readFile(join(packageRoot(), 'README.md'), 'utf8')
  // As `npm install <path>` does it.
  await mkdir(join(folder, 'node_modules'))
  await symlink(packageRoot(), join(folder, 'node_modules', 'cutlayer'), 'junction')
  // The file that README says to copy, for a run as short as can be.
  const config = parse(await readFile(join(packageRoot(), 'experiments/configs/own-data.yaml'), 'utf8')) as Record<string, object>
  const [data, federation] = [{ path: join(packageRoot(), 'experiments/configs/own-data.jsonl') }, { num_rounds: 2, local_steps: 1 }]
  const changes: Record<string, object> = { data, federation, train: { per_device_train_batch_size: 2 } }
  const short = Object.fromEntries(Object.entries(config).map(([group, keys]) => [group, { ...keys, ...changes[group] }]))
  await writeFile(join(folder, 'my.yaml'), JSON.stringify(short))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const environment = () => ({ ...process.env, CUTLAYER_CACHE: join(folder, 'cache'), CUTLAYER_STATE: join(folder, 'state'), NO_COLOR: '1' })

/** The text between a heading and the next one. */
function section(heading: string): string {
  const [, text] = readme.split(`\n## ${heading}\n`)
  expect(text, `README.md has no section called ${heading}`).toBeDefined()
  return text.split('\n## ')[0]
}

/** Saves the code of a section that names a file, TypeScript as a module wherever it lies; @returns the files' names. */
async function save(heading: string): Promise<string[]> {
  const blocks = [...section(heading).matchAll(/^```(?:js|ts) (\S+)\n([^]*?)^```$/gm)].map(
    ([, name, code]) => [name.replace(/\.ts$/, '.mts'), code] as const,
  )
  for (const [name, code] of blocks) await writeFile(join(folder, name), code)
  return blocks.map(([name]) => name)
}

/** Types what a section says to type, and @returns the folder of the run. */
async function typeCommandOf(heading: string): Promise<string> {
  const [, line] = /^npx cutlayer (.*)$/m.exec(section(heading)) ?? []
  const { status, envelope, stderr } = await startProgram(line.split(' '), { cwd: folder, env: environment() }).ended
  expect(status, `${stderr}\n${JSON.stringify(envelope)}`).toBe(0)
  return (envelope.data as { run_dir: string }).run_dir
}

async function recordsOf(run: string) {
  const lines = (await readFile(join(run, 'metrics', 'rounds.jsonl'), 'utf8')).trimEnd().split('\n')
  return {
    config: parse(await readFile(join(run, 'config.yaml'), 'utf8')) as { federation: { strategy: string }; data: { dataset: string } },
    metadata: Metadata.parse(JSON.parse(await readFile(join(run, 'metadata.json'), 'utf8'))),
    rounds: lines.map((line) => RoundLine.parse(JSON.parse(line))),
  }
}

const digestOf = async (name: string) =>
  createHash('sha256')
    .update(await readFile(join(folder, name)))
    .digest('hex')

describe('README.md', () => {
  test(
    'has a strategy that runs, and that its run tells of',
    async () => {
      expect(await save('Your own strategy')).toEqual(['my-strategy.mjs'])
      const { config, metadata, rounds } = await recordsOf(await typeCommandOf('Your own strategy'))
      expect(rounds.map(({ aggregation }) => aggregation?.strategy)).toEqual([undefined, 'fedavgm', 'fedavgm'])
      expect(config.federation.strategy).toBe('./my-strategy.mjs')
      expect(metadata.code).toEqual({ strategy: { path: './my-strategy.mjs', sha256: await digestOf('my-strategy.mjs') } })
    },
    LIMIT_MS,
  )

  test(
    'has a data set that runs: each client has the rows that name it',
    async () => {
      expect(await save('Your own data set')).toEqual(['my-dataset.mjs'])
      const { config, metadata, rounds } = await recordsOf(await typeCommandOf('Your own data set'))
      expect(rounds.at(-1)!.clients.map(({ examples }) => examples)).toEqual([16, 16])
      expect(config.data.dataset).toBe('./my-dataset.mjs')
      expect(metadata.code).toEqual({ dataset: { path: './my-dataset.mjs', sha256: await digestOf('my-dataset.mjs') } })
    },
    LIMIT_MS,
  )

  test(
    'has programs that compile against the types of the package, and run',
    async () => {
      const programs = await save('As a library')
      expect(programs).toEqual(['run.mts', 'together.mts'])
      compile(programs)
      for (const name of programs) {
        const script = name.replace('.mts', '.mjs')
        const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: folder, env: environment() })
        const [, adapter] = /the adapter is in (.*)\n/.exec(stdout) ?? []
        expect(await readdir(adapter)).toContain('adapter_model.safetensors')
        if (name === 'run.mts') expect(stdout).toMatch(/round 0: perplexity \d+.*\nround 1: perplexity \d+.*\nround 2: perplexity \d+/)
        else for (const id of ['anna', 'ben']) expect(stdout).toContain(`join ${id}\n`)
      }
    },
    LIMIT_MS,
  )
})

/** Writes each program as JavaScript beside it. */
function compile(names: readonly string[]): void {
  const program = ts.createProgram(
    names.map((name) => join(folder, name)),
    {
      ...{ strict: true, exactOptionalPropertyTypes: true, verbatimModuleSyntax: true, skipLibCheck: true, noEmitOnError: true },
      ...{ target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
      ...{ typeRoots: [join(packageRoot(), 'node_modules', '@types')], types: ['node'] },
    },
  )
  const found = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics]
  expect(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([])
}
