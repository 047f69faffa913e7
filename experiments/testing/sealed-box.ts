/**
 * @file A process in a root of its own, as a container or a service manager gives it one: a read-only file system with what was put into it, a few folders that
 * can be written, a user without a name or capabilities, a network of its own, and the process identifier 1.
 *
 * Made of Linux's namespaces, where this process may make some: so what an image or a unit says is tried without building or installing it.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'

/** Nobody's. */
export const BOX_USER = 10001
/** Parts of this system that programs need. */
const SYSTEM = ['/usr', '/bin', '/sbin', '/lib', '/lib64', '/etc/ld.so.cache', '/etc/nsswitch.conf', '/etc/hosts', '/etc/ssl']
/** Where the Node that runs this is, in the box. */
const NODE_FOLDER = '/node'

export interface BoxSpec {
  /** A folder to mount the root on; made if need be. Beside it is a file of its name and `.sh`. */
  readonly root: string
  /** Files and folders of this machine by their paths in the box, where they cannot be written. */
  readonly readable: ReadonlyMap<string, string>
  /** Folders that the box's user may write. */
  readonly writable: ReadonlyMap<string, string>
  readonly environment: Readonly<Record<string, string>>
  readonly workingFolder: string
  readonly command: readonly string[]
}

export interface BoxEnding {
  readonly status: number | null
  /** All that was said. */
  readonly said: string
}

export class Box {
  readonly ended: Promise<BoxEnding>
  private said = ''
  private readonly checks = new Set<() => void>()

  private constructor(private readonly child: ChildProcess) {
    for (const stream of [child.stdout!, child.stderr!])
      createInterface({ input: stream }).on('line', (line) => {
        this.said += `${line}\n`
        this.checks.forEach((check) => check())
      })
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (status) => resolve({ status, said: this.said }))
    })
  }

  static start({ root, readable, writable, environment, workingFolder, command }: BoxSpec): Box {
    for (const folder of [root, ...writable.values()]) mkdirSync(folder, { recursive: true })
    const mounts = [
      ...SYSTEM.map((path) => bind(path, root + path, true)),
      bind(dirname(process.execPath), root + NODE_FOLDER, true),
      ...[...readable].map(([path, source]) => bind(source, root + path, true)),
      ...[...writable].map(([path, source]) => `chown ${BOX_USER}:${BOX_USER} ${quoted(source)}; ${bind(source, root + path, false)}`),
    ]
    const variables = { PATH: `${NODE_FOLDER}:/usr/bin:/bin`, ...environment }
    const script = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 root ${quoted(root)}
${mounts.join('\n')}
mkdir -p ${['/proc', '/dev', '/tmp'].map((path) => quoted(root + path)).join(' ')}
mount -t proc proc ${quoted(`${root}/proc`)}
mount --rbind /dev ${quoted(`${root}/dev`)}
mount -t tmpfs -o mode=1777 temporary ${quoted(`${root}/tmp`)}
mount -o remount,ro ${quoted(root)}
ip link set lo up
exec chroot ${quoted(root)} setpriv --reuid ${BOX_USER} --regid ${BOX_USER} --clear-groups --bounding-set=-all --no-new-privs \\
  env -i -C ${quoted(workingFolder)} ${Object.entries(variables)
    .map((pair) => quoted(pair.join('=')))
    .join(' ')} ${command.map(quoted).join(' ')}`
    writeFileSync(`${root}.sh`, script) // too long for a command line
    return new Box(
      spawn('unshare', ['--mount', '--pid', '--net', '--fork', '--kill-child', 'sh', `${root}.sh`], { stdio: ['ignore', 'pipe', 'pipe'] }),
    )
  }

  /** Resolves when it has said so; rejects if it ends before. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    const found = new Promise<RegExpExecArray>((resolve) => {
      const check = (): void => {
        const match = pattern.exec(this.said)
        if (!match) return
        this.checks.delete(check)
        resolve(match)
      }
      this.checks.add(check)
      check()
    })
    const tooLate = this.ended.then(({ said, status }): never => {
      throw new Error(`it ended with ${status} before it said ${pattern}: ${said}`)
    })
    return Promise.race([found, tooLate])
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.processId, signal)
  }

  /** Ends whatever still runs in it. */
  async end(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.ended
  }

  /** The command line that runs what follows it in the box's network, and in its root if asked to. */
  inside(what: 'network' | 'all'): readonly string[] {
    const target = ['nsenter', '--target', String(this.processId)]
    return what === 'network' ? [...target, '--net'] : [...target, '--all', '--root', '--wd', `${NODE_FOLDER}/node`]
  }

  /** Of the process that is the first one in the box, as it is known here. */
  private get processId(): number {
    const { pid } = this.child
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
  }
}

/** null where boxes can be made; else why not, to be printed where tests are left out. */
export function whyNoBox(): string | null {
  const { status, stderr, error } = spawnSync(
    'unshare',
    ['--mount', '--pid', '--net', '--fork', 'sh', '-c', 'mount -t tmpfs none /tmp && ip link set lo up && setpriv --version'],
    {
      encoding: 'utf8',
    },
  )
  return status === 0 ? null : `namespaces cannot be made here (${error?.message ?? stderr.trim()})`
}

function bind(source: string, target: string, isReadOnly: boolean): string {
  const [from, to] = [quoted(source), quoted(target)]
  const place = `if [ -d ${from} ]; then mkdir -p ${to}; else mkdir -p ${quoted(dirname(target))}; touch ${to}; fi`
  const mount = `mount --bind ${from} ${to}`
  const lines = isReadOnly ? `${place}; ${mount}; mount -o remount,bind,ro ${to}` : `${place}; ${mount}`
  return `[ ! -e ${from} ] || { ${lines}; }`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
