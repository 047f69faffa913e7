import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { writeGoldenModel } from '../experiments/testing/golden-model.js'
import { silentObserver } from '../server/observer.js'
import { listen, type Listening } from '../server/socket.js'
import { startServer, type StartedServer } from '../server/start.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { runCommandLine } from '../shared/command-line/frame.node.js'
import { parseConfig } from '../shared/config/parse.js'
import { weightsOfSides } from '../shared/model/loaded.js'
import { openModel } from '../shared/model/model.node.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { RunEvent } from '../shared/run-records.js'
import { packageRoot } from '../shared/version.node.js'
import { commands } from './command.js'
import { helloOf } from './join.js'

const CUT = 2

let folder: string
const at = (...parts: string[]): string => join(folder, ...parts)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-client-'))
  process.env.CUTLAYER_CACHE = at('cache')
  process.env.CUTLAYER_STATE = at('state')
  await writeGoldenModel(at('model'), 'gpt2', { eos: true })
  const rows = Array.from({ length: 12 }, (_, i) => `${JSON.stringify({ text: `row${i}:${'abc'.repeat(1 + (i % 3))}` })}\n`)
  await writeFile(at('rows.jsonl'), rows.join(''))
  await writeFile(at('token'), 'sesame\n')
})
afterAll(() => rm(folder, { recursive: true }))

// ---- a server in this process, clients in theirs

interface Hosted {
  readonly url: string
  readonly started: StartedServer
  readonly events: RunEvent[]
  /** Resolves with the first event of that name, past or to come. */
  event(name: string): Promise<RunEvent>
}

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function host(federation: object, token: string | null = null): Promise<Hosted> {
  const config = parseConfig({
    model: { engine: 'reference' },
    split: { cut_layer: CUT },
    lora: { r: 2, target_modules: ['c_attn'] },
    data: { path: at('rows.jsonl'), max_length: 32 },
    train: { per_device_train_batch_size: 2, learning_rate: 0.01 },
    federation: { num_rounds: 2, local_steps: 2, ...federation },
  })
  const model = await openModel(at('model'))
  const weights = await model.weights(weightsOfSides(model.definition, CUT).top)
  const events: RunEvent[] = []
  const waiting: { name: string; resolve: (event: RunEvent) => void }[] = []
  const observer = {
    ...silentObserver,
    event(event: RunEvent) {
      events.push(event)
      for (const { name, resolve } of waiting) if (name === event.event) resolve(event)
    },
  }
  const started = await startServer({ config, run: 'test', model, weights, backend: referenceBackend(), observer, token })
  const listening: Listening = await listen({ host: '127.0.0.1', port: 0, clients: 4, onLink: (link) => started.server.attach(link) })
  closing.push(async () => {
    // The links first: a client that vanished would be waited for.
    await listening.close('the test is over')
    await started.server.stop('the test is over')
    await started.dispose()
  })
  const event = (name: string): Promise<RunEvent> =>
    new Promise((resolve) => {
      const past = events.find((known) => known.event === name)
      if (past) resolve(past)
      else waiting.push({ name, resolve })
    })
  return { url: listening.url, started, events, event }
}

interface ClientProcess {
  readonly child: ChildProcess
  readonly lines: Record<string, unknown>[]
  /** Resolves with the first JSON line that has these fields, past or to come. */
  line(fields: object): Promise<Record<string, unknown>>
  /** Resolves when stderr has said this. */
  says(words: string): Promise<void>
  readonly ended: Promise<{ status: number | null; envelope: Record<string, unknown> }>
}

function client(url: string, id: string, ...flags: string[]): ClientProcess {
  const args = ['client', '--server', url, '--id', id, '--model', at('model'), '--threads', '1', '--format', 'json', ...flags]
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli.js'), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: Record<string, unknown>[] = []
  let stderr = ''
  const checks = new Set<() => void>()
  const check = (): void => checks.forEach((look) => look())
  createInterface({ input: child.stdout! }).on('line', (line) => {
    lines.push(JSON.parse(line) as Record<string, unknown>)
    check()
  })
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    check()
  })
  const until = <T>(look: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const attempt = (): void => {
        const found = look()
        if (found !== undefined) {
          checks.delete(attempt)
          resolve(found)
        }
      }
      checks.add(attempt)
      attempt()
      child.once('close', () => reject(new Error(`the client ended: ${stderr}${JSON.stringify(lines.at(-1))}`)))
    })
  const ended = new Promise<{ status: number | null; envelope: Record<string, unknown> }>((resolve) =>
    child.once('close', (status) => resolve({ status, envelope: lines.at(-1) ?? {} })),
  )
  closing.push(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return {
    child,
    lines,
    line: (fields) => until(() => lines.find((line) => Object.entries(fields).every(([key, value]) => line[key] === value))),
    says: (words) => until(() => (stderr.includes(words) ? true : undefined)).then(() => undefined),
    ended,
  }
}

/** Joins and is ready, and then never makes a step: whoever needs its part of a step waits. */
function silentClient({ started }: Hosted, id: string): void {
  const pair = memoryLinkPair({ hello: helloOf({ client: id, token: null, part: null, ownData: true, engine: 'none', software: 'test' }) })
  started.server.attach(pair.server)
  pair.client.onMessage((message) => {
    if (message.type === 'welcome') void pair.client.send({ type: 'ready', examples: 4, tokens: 4, eval_examples: 0, kept: [] })
    if (message.type === 'evaluate') {
      const { round, attempt } = message
      void pair.client.send({ type: 'evaluation', round, attempt, nll: 0, tokens: 0, bytes: 0, rows: 0 })
    }
  })
}

describe('client processes', () => {
  test('train to the end, one on a part of the config and one on its own rows, and leave no optimizer state behind', async () => {
    const run = await host({ num_clients: 2, optimizer_state: 'keep' }, 'sesame')
    const first = client(run.url, 'client-0', '--part', '0/2', '--token-file', at('token'))
    const second = client(run.url, 'client-1', '--data', 'rows.jsonl', '--token-file', at('token'), '--engine', 'reference')
    await run.started.server.finished
    const { status, envelope } = await first.ended
    expect(status).toBe(0)
    expect(envelope).toMatchObject({
      status: 'ok',
      data: { client: 'client-0', run: 'test', rounds: 2, steps: 4, examples: 5, finished: 'the run has finished' },
    })
    expect(await second.ended).toMatchObject({ status: 0, envelope: { data: { examples: 11 } } })
    // Ending well is no lost connection.
    expect(first.lines.filter(({ state }) => state === 'reconnecting')).toEqual([])
    const names = first.lines.map(({ event }) => event)
    expect(names[0]).toBe('notice')
    for (const name of ['welcome', 'data', 'ready', 'round-start', 'step', 'round-end', 'finish']) expect(names).toContain(name)
    expect(await readdir(at('state'))).toEqual(['client-key'])
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('after one %s finish their step, tell the server at once, and end with 130', async (signal) => {
    const run = await host({ num_clients: 1, num_rounds: 1000, local_steps: 1000 })
    const { child, line, ended } = client(run.url, 'client-0')
    await line({ event: 'step', step: 0 })
    child.kill(signal)
    expect(await run.event('leave')).toMatchObject({ client: 'client-0', reason: 'the client was stopped by whoever runs it' })
    const { status, envelope } = await ended
    expect(status).toBe(130)
    expect(envelope).toMatchObject({ exit_code: 130, data: { client: 'client-0', finished: null }, error: { code: 'INTERRUPTED' } })
  })

  test('after a second Ctrl-C end at once, though their step still waits for others', async () => {
    const run = await host({ num_clients: 2 })
    silentClient(run, 'client-1')
    const { child, line, ended } = client(run.url, 'client-0')
    await line({ event: 'step', step: 0 })
    child.kill('SIGINT')
    await line({ event: 'stopping' })
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ status: 130, envelope: { exit_code: 130 } })
  })

  test('keep to themselves what is wrong with a row, and tell the server that they cannot go on', async () => {
    await writeFile(at('bad.jsonl'), '{"text": "fine"}\nmy secret diary\n')
    const run = await host({ num_clients: 1 })
    const { status, envelope } = await client(run.url, 'client-0', '--data', 'bad.jsonl').ended
    expect(status).toBe(4)
    expect(envelope).toMatchObject({ error: { code: 'DATA_ROW_INVALID', what: expect.stringContaining('line 2') as string } })
    const { reason } = await run.event('client-error')
    expect(reason).toContain('DATA_ROW_INVALID')
    expect(JSON.stringify(run.events)).not.toContain('secret')
  })

  test('with a wrong token or another model are refused', async () => {
    const run = await host({ num_clients: 1 }, 'open')
    expect(await client(run.url, 'client-0', '--token-file', at('token')).ended).toMatchObject({
      status: 6,
      envelope: { exit_code: 603, error: { code: 'TOKEN_REFUSED' } },
    })
    await writeGoldenModel(at('other'), 'gpt2', { eos: true, zeros: true })
    const open = await host({ num_clients: 1 })
    expect(await client(open.url, 'client-0', '--model', at('other')).ended).toMatchObject({
      status: 4,
      envelope: { error: { code: 'MODEL_DIGEST_DIFFERS' } },
    })
  })
})

describe('a command line that cannot work is refused before anything is opened:', () => {
  const error = async (...args: string[]): Promise<unknown> => {
    let stdout = ''
    const streams = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: () => true }, environment: {} }
    await runCommandLine({ version: '0', summary: '', commands }, ['client', '--format', 'json', ...args], streams, () => undefined)
    return (JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as { error: unknown }).error
  }
  // Nothing listens on port 1, and nothing gets that far.
  const good = ['--server', 'http://127.0.0.1:1', '--id', 'client-0']

  test.each([
    [['--id', 'client-0'], 'BAD_ARGUMENT', '--server is missing'],
    [['--server', 'http://127.0.0.1:1'], 'BAD_ARGUMENT', '--id is missing'],
    [['--server', 'somewhere', '--id', 'client-0'], 'BAD_ARGUMENT', '"somewhere" is not the address of a server'],
    [['--server', 'http://127.0.0.1:1', '--id', '../up'], 'BAD_ARGUMENT', '--id has a wrong value'],
    [[...good, '--part', '4/4'], 'BAD_ARGUMENT', '--part has a wrong value'],
    [[...good, '--part', '1'], 'BAD_ARGUMENT', '--part has a wrong value'],
    [[...good, '--threads', '0'], 'BAD_ARGUMENT', '--threads has a wrong value'],
    [[...good, '--engine', 'torch'], 'BAD_ARGUMENT', 'there is no engine called torch'],
    [[...good, '--ca', 'nowhere.pem'], 'BAD_ARGUMENT', '--ca names nowhere.pem, which cannot be used'],
    [[...good, '--token-file', 'nowhere'], 'BAD_ARGUMENT', 'there is no token to read in nowhere'],
  ])('%j', async (args, code, what) => {
    expect(await error(...args)).toMatchObject({ code, what: expect.stringContaining(what) as string })
  })
})
