/**
 * @file SIGTERM, as service managers send it, and SIGHUP of a terminal that closes: processes that end in good order although others do not answer.
 *
 * Status 130 tells that they ended by themselves: whoever is not through after 9.5 s ends by a signal.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Summary } from '../../shared/run-records.js'
import { packageRoot } from '../../shared/version.node.js'
import { processesOf, type Program } from '../testing/program.js'
import type { Groups } from '../testing/small-run.js'
import { expectGoodOrder, expectWholeAdapter, expectWholeLogs, runsIn } from '../testing/whole-run.js'
import { programWorkshop } from '../testing/program-workshop.js'

const hasTerminals = spawnSync('script', ['--version']).status === 0
if (!hasTerminals) console.warn('the test of a terminal that closes is left out: there is no script (of util-linux)')

const { workshop, start } = programWorkshop('file')

let configs = 0
/** A config that goes on until it is stopped, and loses nobody who is only slow; its runs go to a folder of their own. */
async function endless(kind: 'memory' | 'socket'): Promise<{ readonly name: string; readonly outputDir: string }> {
  const outputDir = `runs-${configs++}`
  const groups: Groups = {
    model: { engine: 'reference' },
    federation: { num_rounds: 100_000, local_steps: 3, reconnect_s: 600 },
    transport: { kind },
    output: { output_dir: outputDir },
  }
  return { name: await workshop.config(`${outputDir}.yaml`, groups), outputDir: workshop.at(outputDir) }
}

async function openServer() {
  const { name, outputDir } = await endless('socket')
  const server = start('server', name, '--port', '0')
  const url = String((await server.line({ event: 'listening' })).url)
  const joinAs = (id: string): Program =>
    start('client', '--server', url, '--id', id, '--model', 'model', '--engine', 'reference', '--threads', '1')
  return { server, outputDir, url, joinAs }
}

test.concurrent(
  'a server in a step that a stopped client never answers is not ready, but alive; it ends, and tells the others',
  async () => {
    const { server, outputDir, url, joinAs } = await openServer()
    const [ada, bob] = [joinAs('ada'), joinAs('bob')]
    await bob.line({ event: 'step', round: 2, step: 0 })
    bob.child.kill('SIGSTOP')
    server.child.kill('SIGTERM')
    expect(await server.line({ event: 'stopping' })).toMatchObject({ by: 'SIGTERM' })
    const answer = async (path: string) => {
      const response = await fetch(url + path)
      return { status: response.status, body: (await response.json()) as unknown }
    }
    expect(await answer('/readyz')).toMatchObject({ status: 503, body: { status: 'stopping', doing: 'training' } })
    expect(await answer('/healthz')).toMatchObject({ status: 200 })
    await expectGoodOrder(await server.ended, outputDir)
    expect(await ada.ended).toMatchObject({ status: 0, envelope: { data: { finished: 'the server was stopped' } } })
  },
)

test.concurrent('a run ends although one of its client processes is stopped, and leaves none of them', async () => {
  const { name, outputDir } = await endless('socket')
  const run = start('run', name)
  await run.line({ event: 'round', round: 1 })
  const client = (await processesOf('--id client-1')).find(({ pid }) => parentOf(pid) === run.child.pid)!
  process.kill(client.pid, 'SIGSTOP')
  run.child.kill('SIGTERM')
  await expectGoodOrder(await run.ended, outputDir)
  expect((await processesOf('--id client-')).filter(({ pid }) => parentOf(pid) === run.child.pid || pid === client.pid)).toEqual([])
})

test.concurrent('a client ends although its server is stopped in the middle of a step', async () => {
  const { server, joinAs } = await openServer()
  const [ada] = [joinAs('ada'), joinAs('bob')]
  await ada.line({ event: 'step', round: 1, step: 0 })
  server.child.kill('SIGSTOP')
  ada.child.kill('SIGTERM')
  expect(await ada.ended).toMatchObject({ status: 130, envelope: { exit_code: 130, data: { client: 'ada', finished: null } } })
})

test.skipIf(!hasTerminals).concurrent('a run whose terminal is closed ends in good order', async () => {
  const { name, outputDir } = await endless('memory')
  const command = `'${process.execPath}' '${join(packageRoot(), 'dist', 'cli.js')}' run ${name}`
  // Whoever holds the fourth stream of the run is the run.
  const terminal = spawn('script', ['-qfec', command, '/dev/null'], {
    cwd: workshop.folder,
    env: workshop.environment,
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  })
  let shown = ''
  for await (const text of terminal.stdout!.setEncoding('utf8') as AsyncIterable<string>) {
    shown += text
    if (/round 2/.test(shown)) break
  }
  const isOver = once((terminal.stdio[3] as Readable).resume(), 'end')
  terminal.kill('SIGKILL')
  await isOver
  const [folder] = await runsIn(outputDir)
  const rounds = await expectWholeLogs(folder!)
  expect(Summary.parse(JSON.parse(await readFile(join(folder!, 'metrics', 'summary.json'), 'utf8')))).toMatchObject({
    status: 'interrupted',
  })
  await expectWholeAdapter(folder!, rounds)
})

test.concurrent(
  'a process whose engine is in the middle of something long ends all the same, by the signal, and does what is to be done at its exit',
  async () => {
    const program = await hangingProgram()
    const child = spawn(process.execPath, [program, 'hang', '--format', 'json'], {
      cwd: workshop.folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      if (text.includes('"busy"')) child.kill('SIGTERM')
    })
    expect(await once(child, 'close')).toEqual([null, 'SIGTERM'])
    const lines = stdout.trimEnd().split('\n')
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ exit_code: 130, error: { code: 'INTERRUPTED' } })
    expect(await readFile(workshop.at('at-exit'), 'utf8')).toBe('done')
  },
)

/** A program of the same frame, whose only command waits for a worker that is inside a native call for longer than there is time. */
async function hangingProgram(): Promise<string> {
  const built = (path: string): string => JSON.stringify(join(packageRoot(), 'dist', 'shared', path))
  const module = workshop.at('hanging.mjs')
  await writeFile(
    module,
    `import { writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
const { runProcess } = await import(${built('command-line/process.node.js')})
const { beforeExit } = await import(${built('exit.node.js')})
const run = (context) =>
  new Promise(() => {
    const worker = new Worker("require('node:child_process').execFileSync('sleep', ['20'])", { eval: true })
    beforeExit(() => new Promise((resolve) => worker.once('exit', resolve)))
    process.on('exit', () => writeFileSync('at-exit', 'done'))
    worker.once('online', () => context.event({ event: 'busy' }, 'busy'))
  })
runProcess({ summary: '', commands: [{ usage: 'hang', summary: '', example: '', flags: {}, graceful: true, run }] })
`,
  )
  return module
}

function parentOf(pid: number): number {
  return Number(spawnSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }).stdout)
}
