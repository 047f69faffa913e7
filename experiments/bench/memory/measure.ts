/**
 * @file Runs a server, its clients and a step of the whole model as processes, and measures the memory of each.
 */
import { cp, mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { clientCount, type Config } from '../../../shared/config/schema.js'
import { beforeExit } from '../../../shared/exit.node.js'
import { shippedModelFolder } from '../../../shared/model/model.node.js'
import { startMeasured, type MeasuredProcess } from './processes.js'
import { MemoryWatch, type PeakMemory } from './watch.js'

export interface MeasureOptions {
  /** For what the run writes, and the prepared weights. */
  readonly folder: string
  readonly configPath: string
  readonly overrides: readonly string[]
  /** That file with those overrides. */
  readonly config: Config
  /** Of each process; null: as each chooses. */
  readonly threads: number | null
  /** Whether to run a step of the whole model after it, for comparison. */
  readonly whole: boolean
  /** Ends the measurement. */
  readonly signal: AbortSignal
  /** Told when a process starts. */
  readonly onStart?: (name: string) => void
}

export interface Measured {
  readonly name: string
  readonly peak: PeakMemory
}

/**
 * The clients share a copy of the server's prepared weights: so the clients are to each other as on one machine, and to the server as on
 * another.
 * @throws UserError what a process ended with; the signal's reason.
 */
export async function measureRun(options: MeasureOptions): Promise<readonly Measured[]> {
  const { folder, configPath, overrides, config, threads, whole, signal, onStart } = options
  const processes: MeasuredProcess[] = []
  const kill = (): void => processes.forEach((process) => process.kill())
  const takeBack = beforeExit(async () => {
    kill()
    await Promise.allSettled(processes.map(({ ended }) => ended))
  })
  signal.addEventListener('abort', kill)
  const watch = new MemoryWatch(folder)
  const measured: { readonly name: string; readonly pid: number }[] = []
  const caches = { server: join(folder, 'server-cache'), clients: join(folder, 'client-cache') }
  const start = (name: string, args: readonly string[], cache: string): MeasuredProcess => {
    signal.throwIfAborted()
    onStart?.(name)
    const started = startMeasured(name, args, { CUTLAYER_CACHE: cache, CUTLAYER_STATE: join(folder, 'state') })
    processes.push(started)
    watch.add(started.pid)
    measured.push({ name, pid: started.pid })
    return started
  }
  try {
    await mkdir(join(folder, 'runs'), { recursive: true })
    const server = start('server', ['server', configPath, '--port', '0', ...overrides], caches.server)
    const url = await server.listening
    await cp(caches.server, caches.clients, { recursive: true })
    await Promise.all(Object.values(caches).map(writeBack))
    const count = clientCount(config)
    const model = config.model.model_name_or_path
    const clients = Array.from({ length: count }, (_, index) => {
      const args = ['client', '--server', url, '--id', `client-${index}`, '--part', `${index}/${count}`, '--engine', config.model.engine]
      if (model !== null) args.push('--model', model)
      if (threads !== null) args.push('--threads', String(threads))
      return start(`client-${index}`, args, caches.clients)
    })
    await all([server, ...clients])
    if (whole) await all([start('whole model', wholeStep(config, threads), caches.server)])
    return measured.map(({ name, pid }) => ({ name, peak: watch.peakOf(pid)! }))
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    watch.stop()
    kill()
    await Promise.allSettled(processes.map(({ ended }) => ended))
    signal.removeEventListener('abort', kill)
    takeBack()
  }
}

/** Pages of a file that are not on the disk yet would count as dirty memory of whoever maps it. */
async function writeBack(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = await open(join(entry.parentPath, entry.name), 'r')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }
}

/** Of them, the first error ends all. */
async function all(processes: readonly MeasuredProcess[]): Promise<void> {
  await Promise.all(processes.map(({ ended }) => ended))
}

/** The same batch on the same model, by the command that times it. */
function wholeStep({ model, train, data }: Config, threads: number | null): string[] {
  const size = ['--batch', String(train.per_device_train_batch_size), '--seq', String(data.max_length), '--precision', model.precision]
  return ['bench', 'step', '--model', model.model_name_or_path ?? shippedModelFolder(), ...size, '--threads', String(threads ?? 2)]
}
