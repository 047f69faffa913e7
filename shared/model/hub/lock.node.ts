/**
 * @file A lock between processes that would otherwise fetch the same file at once. It saves traffic; files are right without it.
 */
import { mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 200
/** A holder shows that it lives this often; one that has not for a minute is gone. */
const TOUCH_MS = 10_000
const STALE_MS = 60_000

/**
 * Does the work while no other process holds `path`. One that died holds nothing.
 *
 * @param onWait is told once, if somebody else holds it.
 * @throws what `work` throws, the signal's reason, and the file system's errors.
 */
export async function whileLocked<Result>(
  path: string,
  { signal, onWait }: { readonly signal?: AbortSignal | undefined; readonly onWait?: () => void },
  work: () => Promise<Result>,
): Promise<Result> {
  await mkdir(dirname(path), { recursive: true })
  for (let waits = 0; !(await take(path)); waits++) {
    if (await isStale(path)) await rm(path, { force: true })
    else {
      if (waits === 0) onWait?.()
      await sleep(POLL_MS, undefined, signal ? { signal } : {})
    }
  }
  const touching = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), TOUCH_MS)
  touching.unref()
  try {
    return await work()
  } finally {
    clearInterval(touching)
    await rm(path, { force: true })
  }
}

async function take(path: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx')
    await handle.writeFile(`${hostname()} ${process.pid}`).finally(() => handle.close())
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function isStale(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => null)
  if (stats === null) return false // it was given back just now
  if (Date.now() - stats.mtimeMs > STALE_MS) return true
  const [host, processId] = (await readFile(path, 'utf8').catch(() => '')).split(' ')
  if (host !== hostname() || !/^\d+$/.test(processId ?? '')) return false
  try {
    process.kill(Number(processId), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
