/**
 * @file What a server is deployed with does what it says: the Dockerfile's program and the Kubernetes manifest's container, and the unit of systemd, each run with
 * a read-only root, as nobody, with the folders, files and variables that they name.
 *
 * .ci/lint-deploy has the linters look at the same files.
 */
import { execFile, execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { RoundLine, Summary } from '../../shared/run-records.js'
import { packageRoot } from '../../shared/version.node.js'
import { Box, BOX_USER, whyNoBox, type BoxSpec } from '../testing/sealed-box.js'
import { linesOf } from '../testing/whole-run.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

const DEPLOY = join(packageRoot(), 'server', 'operation', 'deploy')
const deployFile = (name: string): Promise<string> => readFile(join(DEPLOY, name), 'utf8')
const program = join(packageRoot(), 'dist', 'cli.js')

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const reason = hasOpenssl ? whyNoBox() : 'there is no openssl'
if (reason !== null) console.warn(`servers in boxes are left out: ${reason}`)

/** What the last stage of a Dockerfile says. */
interface Image {
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly healthcheck: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly user: string
  readonly workingFolder: string
  readonly volume: string
  readonly port: number
  /** By path in the image: what the stage before has there. */
  readonly copies: ReadonlyMap<string, string>
}

async function readImage(): Promise<Image> {
  const text = (await deployFile('Dockerfile')).replaceAll(/^#.*\n/gm, '').replaceAll('\\\n', ' ')
  const lines = text.slice(text.lastIndexOf('\nFROM ')).trim().split('\n')
  const copies = new Map<string, string>()
  let folder = '/'
  for (const line of lines) {
    const [word, ...rest] = line.trim().split(/\s+/)
    if (word === 'WORKDIR') folder = rest[0]
    if (word !== 'COPY') continue
    const [, ...sources] = rest.slice(0, -1)
    const target = join(folder, rest.at(-1)!)
    for (const source of sources) copies.set(rest.at(-1)!.endsWith('/') ? join(target, source.split('/').at(-1)!) : target, source)
  }
  const after = (word: string): string => new RegExp(`^${word}\\s+(.*)$`, 'm').exec(lines.join('\n'))![1]
  const list = (json: string): string[] => z.array(z.string()).parse(JSON.parse(json))
  return {
    entrypoint: list(after('ENTRYPOINT')),
    command: list(after('CMD')),
    healthcheck: list(after('HEALTHCHECK.*CMD')),
    environment: Object.fromEntries(
      after('ENV')
        .trim()
        .split(/\s+/)
        .map((pair) => pair.split('=') as [string, string]),
    ),
    user: after('USER'),
    workingFolder: folder,
    volume: after('VOLUME'),
    port: Number(after('EXPOSE')),
    copies,
  }
}

const Probe = z.object({ httpGet: z.object({ path: z.string(), port: z.string(), scheme: z.string() }) })
const Container = z.object({
  args: z.array(z.string()),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
  startupProbe: Probe,
  livenessProbe: Probe,
  readinessProbe: Probe,
})
const Pod = z.object({
  terminationGracePeriodSeconds: z.number(),
  securityContext: z.object({ runAsUser: z.number(), runAsGroup: z.number() }),
  containers: z.tuple([Container]),
})

async function readManifest() {
  const documents = parseAllDocuments(await deployFile('kubernetes.yaml')).map((document): unknown => document.toJS())
  const ofKind = (kind: string): unknown => documents.find((document) => (document as { kind: string }).kind === kind)
  const pod = z.object({ spec: z.object({ template: z.object({ spec: Pod }) }) }).parse(ofKind('Job')).spec.template.spec
  const { data } = z.object({ data: z.object({ 'config.yaml': z.string() }) }).parse(ofKind('ConfigMap'))
  return { pod, container: pod.containers[0], config: data['config.yaml'] }
}

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
const boxes: Box[] = []
const clients: ChildProcess[] = []
afterAll(async () => {
  for (const client of clients) client.kill('SIGKILL')
  for (const box of boxes) await box.end()
  await workshop.remove()
})

function openBox(spec: BoxSpec): Box {
  const box = Box.start(spec)
  boxes.push(box)
  return box
}

test('the image and the manifest agree, and the unit runs the same server', async () => {
  const [image, { pod, container }, unit] = [await readImage(), await readManifest(), await readUnit()]
  expect(container.args).toEqual(image.command)
  expect(`${pod.securityContext.runAsUser}:${pod.securityContext.runAsGroup}`).toBe(image.user)
  expect(container.ports).toMatchObject([{ containerPort: image.port }])
  expect(image.command).toContain(String(image.port))
  expect(container.volumeMounts.map(({ mountPath }) => mountPath)).toEqual([image.volume, '/tmp', '/etc/cutlayer'])
  expect(image.workingFolder).toBe(image.volume)
  for (const path of image.copies.keys()) expect(path).toMatch(/^\/app\//)
  // A process is gone 10 s after SIGTERM.
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(10)
  expect(Number(unit.get('TimeoutStopSec'))).toBeGreaterThan(10)
  expect(unit.get('SuccessExitStatus')).toBe('130')
  const [, ...words] = unit.get('ExecStart')!.split(' ')
  expect(words.filter((word) => word !== '127.0.0.1')).toEqual(image.command.filter((word) => word !== '0.0.0.0'))
})

test('what is left out of the image’s context is not what it is made of', async () => {
  const ignored = (await readFile(join(packageRoot(), '.dockerignore'), 'utf8')).split('\n')
  const { files } = z.object({ files: z.array(z.string()) }).parse(JSON.parse(await readFile(join(packageRoot(), 'package.json'), 'utf8')))
  expect(ignored).toEqual(expect.arrayContaining(['dist', 'node_modules', 'runs', '**/*.key', '**/*.token', '**/tokens.json']))
  const needed = ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'tsconfig.build.json', 'LICENSE', ...files]
  for (const name of needed.filter((file) => file !== 'dist' && !file.endsWith('.md'))) expect(ignored).not.toContain(name)
})

/** The settings of a unit's [Service]; of those that are given twice, the last. */
async function readUnit(): Promise<ReadonlyMap<string, string>> {
  const lines = (await deployFile('cutlayer.service')).split('\n').filter((line) => /^[A-Z]\w+=/.test(line))
  return new Map(lines.map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
}

/** The packages that `npm ci --omit=dev` installs. */
async function productionPackages(): Promise<string[]> {
  const Lock = z.object({ packages: z.record(z.string(), z.object({ dev: z.boolean().optional() })) })
  const { packages } = Lock.parse(JSON.parse(await readFile(join(packageRoot(), 'package-lock.json'), 'utf8')))
  const isTop = (path: string): boolean => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path)
  return Object.keys(packages).filter((path) => isTop(path) && !packages[path]!.dev)
}

/** What a deployed server reads: a config for one client and short rounds, a certificate, and tokens; and what the client needs to join. */
async function writeSettings(folder: string, config: string) {
  await mkdir(folder, { recursive: true })
  const groups = parse(config) as Record<string, Record<string, unknown>>
  Object.assign(groups.federation!, { num_clients: 1, num_rounds: 3, local_steps: 2 })
  Object.assign(groups.eval!, { max_eval_batches: 1 })
  const at = (name: string): string => join(folder, name)
  await writeFile(at('config.yaml'), JSON.stringify(groups))
  const subject = ['-subj', '/CN=cutlayer', '-addext', 'subjectAltName=IP:127.0.0.1']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', at('tls.key')]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', at('tls.crt'), '-days', '2', ...subject], { stdio: 'pipe' })
  const token = `${folder}.token`
  execFileSync(process.execPath, [program, 'token', 'create', 'ada', '--file', at('tokens.json'), '--out', token], { stdio: 'pipe' })
  for (const name of await readdir(folder)) await chown(at(name), BOX_USER, BOX_USER)
  return { clientArgs: ['--ca', at('tls.crt'), '--token-file', token, '--data', 'rows.jsonl'] }
}

/** A client on the box's network. */
function joinBox(box: Box, url: string, args: readonly string[]): ChildProcess {
  const [command, ...rest] = [
    ...box.inside('network'),
    process.execPath,
    program,
    'client',
    '--server',
    url,
    '--id',
    'ada',
    '--threads',
    '1',
    ...args,
  ]
  const client = spawn(command!, rest, { env: workshop.environment, cwd: workshop.folder, stdio: 'ignore' })
  clients.push(client)
  return client
}

/** What Node says inside a box. */
async function nodeInside(box: Box, ...args: string[]): Promise<string> {
  const [command, ...rest] = [...box.inside('all'), ...args]
  return (await promisify(execFile)(command!, rest)).stdout
}

const ASK = `const [url] = process.argv.slice(1)
const { get } = await import(new URL(url).protocol === 'https:' ? 'node:https' : 'node:http')
get(url, { rejectUnauthorized: false }, ({ statusCode }) => console.log(statusCode))`

const askInside = async (box: Box, url: string): Promise<number> => Number(await nodeInside(box, '--input-type=module', '-e', ASK, url))

/**
 * One run over three starts of its server: it is stopped after a round, goes on with the next start, comes to its end, and is over for whoever starts it once more.
 */
async function runOverThreeStarts(
  start: () => Box,
  { url, clientArgs, runs, check }: { url: string; clientArgs: readonly string[]; runs: string; check: (box: Box) => Promise<void> },
): Promise<void> {
  const first = start()
  await first.says(/listening/)
  await check(first)
  const client = joinBox(first, url, clientArgs)
  await first.says(/round 1\b/)
  first.kill('SIGTERM')
  expect(await first.ended).toMatchObject({ status: 130 })
  client.kill('SIGKILL')
  const second = start()
  await second.says(/listening/)
  joinBox(second, url, clientArgs)
  expect(await second.ended).toMatchObject({ status: 0 })
  expect(await start().ended).toMatchObject({ status: 0, said: expect.stringContaining('is over') as string })
  const [run, ...others] = await readdir(runs)
  expect(others).toEqual([])
  const rounds = await linesOf(join(runs, run!, 'metrics', 'rounds.jsonl'), RoundLine)
  // A round that was under way when the server ended may stand there twice.
  expect([...new Set(rounds.map(({ round }) => round))]).toEqual([0, 1, 2, 3])
  expect(Summary.parse(JSON.parse(await readFile(join(runs, run!, 'metrics', 'summary.json'), 'utf8')))).toMatchObject({
    status: 'complete',
  })
}

describe.skipIf(reason !== null)('in a box,', { timeout: 120_000 }, () => {
  test('the container of the manifest, made as the Dockerfile says, serves a run, and goes on with it', async () => {
    const [image, { container, config }] = [await readImage(), await readManifest()]
    const [data, settings] = [workshop.at('volume'), workshop.at('settings')]
    const { clientArgs } = await writeSettings(settings, config)
    const readable = new Map([['/etc/cutlayer', settings]])
    for (const [path, source] of image.copies)
      if (source === '/app/node_modules')
        for (const name of await productionPackages()) readable.set(join('/app', name), join(packageRoot(), name))
      else readable.set(path, join(packageRoot(), source.slice('/app'.length)))
    let starts = 0
    const start = (): Box =>
      openBox({
        root: workshop.at(`container-${starts++}`),
        readable,
        writable: new Map([[image.volume, data]]),
        environment: image.environment,
        workingFolder: image.workingFolder,
        command: [...image.entrypoint, ...container.args],
      })
    const url = `https://127.0.0.1:${image.port}`
    await runOverThreeStarts(start, {
      ...{ url, clientArgs, runs: join(data, 'runs') },
      async check(box) {
        const [, ...healthcheck] = image.healthcheck
        await nodeInside(box, ...healthcheck) // fails unless it ends with 0
        for (const { httpGet } of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
          const port = container.ports.find(({ name }) => name === httpGet.port)!.containerPort
          expect(await askInside(box, `${httpGet.scheme.toLowerCase()}://127.0.0.1:${port}${httpGet.path}`), httpGet.path).toBe(200)
        }
      },
    })
  })

  test('the unit of systemd serves a run, and goes on with it', async () => {
    const unit = await readUnit()
    const { config } = await readManifest()
    const [state, cache, settings] = ['state-of-unit', 'cache-of-unit', 'settings-of-unit'].map((name) => workshop.at(name))
    const { clientArgs } = await writeSettings(settings!, config)
    const environment = Object.fromEntries(
      unit
        .get('Environment')!
        .split(' ')
        .map((pair) => pair.split('=') as [string, string]),
    )
    let starts = 0
    const start = (): Box =>
      openBox({
        root: workshop.at(`unit-${starts++}`),
        readable: new Map([
          ['/opt/cutlayer', packageRoot()],
          [`/etc/${unit.get('ConfigurationDirectory')}`, settings!],
        ]),
        writable: new Map([
          [`/var/lib/${unit.get('StateDirectory')}`, state!],
          [`/var/cache/${unit.get('CacheDirectory')}`, cache!],
        ]),
        environment,
        workingFolder: unit.get('WorkingDirectory')!,
        command: unit.get('ExecStart')!.split(' '),
      })
    const url = 'https://127.0.0.1:7700'
    await runOverThreeStarts(start, {
      ...{ url, clientArgs, runs: join(state!, 'runs') },
      check: async (box) => expect(await askInside(box, `${url}/readyz`)).toBe(200),
    })
  })
})
