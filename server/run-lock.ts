/**
 * @file One process at a time writes a run: a file in the run's folder says which, and whether it still lives.
 *
 * A number of a process says little by itself: another process may have it by now. So the file also has what tells them apart on Linux, when the
 * process began, and in which life of the system. Of another machine on a shared disk only the file's age tells, which its process renews.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, constants, copyFileSync, openSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { z } from 'zod'
import { UserError } from '../shared/errors.js'

const RENEWED_EVERY_MS = 10_000
/** A process on another machine that was not heard of for so long is gone. */
const FOREIGN_SILENCE_MS = 60_000
/** Others may be about to take it, too. */
const MOST_ATTEMPTS = 10

const Holder = z.object({
  pid: z.int().positive(),
  host: z.string(),
  /** Of the process, in ticks since the system began; null where the system does not tell. */
  began: z.string().nullable(),
  /** Of the system's present life. */
  boot: z.string().nullable(),
  /** Tells two locks of one process apart. */
  nonce: z.string(),
})
type Holder = z.infer<typeof Holder>

export interface RunLock {
  /** Again: nothing. */
  release(): void
}

/**
 * Takes the run for this process. What a dead process left is taken over.
 * @throws UserError RUN_IN_USE if another one that lives has it; Error of the system's.
 */
export function takeRunLock(path: string): RunLock {
  const own: Holder = { ...thisProcess(), nonce: randomBytes(8).toString('hex') }
  for (let attempt = 0; !created(path, own); attempt++) {
    const text = readIfThere(path)
    if (text === null && attempt < MOST_ATTEMPTS) continue // it has just been removed
    const holder = parse(text ?? '')
    // One that cannot be read is of a process that died, or has only just begun to write it.
    if (attempt === MOST_ATTEMPTS || (holder ? isAlive(holder, path) : ageMs(path) < 1000)) throw inUse(path, holder)
    removeIfStill(path, text ?? '')
  }
  const renew = setInterval(() => {
    try {
      const now = new Date()
      utimesSync(path, now, now)
    } catch {
      // It is only looked at from other machines; on this one the process itself is.
    }
  }, RENEWED_EVERY_MS).unref()
  let isHeld = true
  return {
    release() {
      if (!isHeld) return
      isHeld = false
      clearInterval(renew)
      removeIfStill(path, textOf(own))
    },
  }
}

/** @returns false if there is one already */
function created(path: string, holder: Holder): boolean {
  let file: number
  try {
    file = openSync(path, 'wx')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  try {
    writeSync(file, textOf(holder))
    return true
  } catch (error) {
    rmSync(path, { force: true })
    throw error
  } finally {
    closeSync(file)
  }
}

/** Of two processes that find a dead one's lock only one may take it away, and neither the other's new one. */
function removeIfStill(path: string, text: string): void {
  const aside = `${path}.${randomBytes(8).toString('hex')}.tmp`
  try {
    renameSync(path, aside)
  } catch {
    return // somebody else was faster
  }
  try {
    if (readFileSync(aside, 'utf8') !== text) copyFileSync(aside, path, constants.COPYFILE_EXCL)
  } catch {
    // There is a newer one already.
  } finally {
    rmSync(aside, { force: true })
  }
}

function isAlive({ pid, host, began, boot }: Holder, path: string): boolean {
  if (host !== hostname()) return ageMs(path) < FOREIGN_SILENCE_MS
  if (boot !== bootId()) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false // EPERM: it lives, and belongs to somebody else
  }
  const stat = statOf(pid)
  // A zombie has ended; only its parent has not looked yet, as the first process of many a container never does.
  return began === (stat?.began ?? null) && stat?.state !== 'Z' && stat?.state !== 'X'
}

function thisProcess(): Omit<Holder, 'nonce'> {
  return { pid: process.pid, host: hostname(), began: statOf(process.pid)?.began ?? null, boot: bootId() }
}

/** Fields 3 and 22 of /proc/<pid>/stat (proc(5)); the second may hold blanks and parentheses. null where there is no such file. */
function statOf(pid: number): { readonly state: string | undefined; readonly began: string | undefined } | null {
  const stat = readIfThere(`/proc/${pid}/stat`)
  if (stat === null) return null
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0], began: fields[19] }
}

function bootId(): string | null {
  return readIfThere('/proc/sys/kernel/random/boot_id')?.trim() ?? null
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function ageMs(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs
  } catch {
    return Infinity
  }
}

function textOf(holder: Holder): string {
  return `${JSON.stringify(holder)}\n`
}

function parse(text: string): Holder | null {
  try {
    return Holder.parse(JSON.parse(text))
  } catch {
    return null
  }
}

function inUse(path: string, holder: Holder | null): UserError {
  return new UserError({
    code: 'RUN_IN_USE',
    what: 'the run is still going on',
    why: holder ? `process ${holder.pid} on ${holder.host} writes it, as ${path} says` : `${path} was made just now`,
    fix: 'wait until it has ended, or stop it (Ctrl-C once), and try again',
  })
}
