/**
 * @file What a worker's programs take of the processors: the time of its own thread and of those that the engine started for it.
 *
 * That a program is under way says little: its threads may wait for each other, or for a core. Linux counts each thread's time on a
 * processor (/proc, `schedstat`, in nanoseconds); elsewhere a process only has one sum for all it does, JavaScript included. Whose threads
 * are whose is told by their names: a thread has that of the one that started it until it gets its own.
 */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { threadId } from 'node:worker_threads'
import { epochMicros, type RunTimes } from '../../trace.js'

/** At most 15 characters; no other worker of this process has it. */
const NAME = `engine-${threadId}`
const TASKS = '/proc/self/task'

/** Belongs to the thread that makes it. */
export class EngineClock {
  /** Ids of the engine's threads; null where the system does not tell threads apart. */
  private threads: readonly string[] | null = ownThread()

  /** Looks for threads that were started since; they count from then on, with all they have done. */
  findThreads(): void {
    if (this.threads !== null) this.threads = readdirSync(TASKS).filter((thread) => readTask(thread, 'comm')?.trimEnd() === NAME)
  }

  /** Measures what the engine's threads do. @returns ends it */
  start(): () => { readonly times: RunTimes } {
    const startMicros = epochMicros()
    const before = this.processorMicros()
    return () => {
      const after = this.processorMicros()
      const processorMicros = before === null || after === null ? null : after - before
      return { times: { startMicros, endMicros: epochMicros(), processorMicros } }
    }
  }

  private processorMicros(): number | null {
    if (this.threads === null) return null
    return this.threads.reduce((sum, thread) => sum + (onProcessor(thread) ?? 0) / 1000, 0)
  }
}

/** Names it, too. */
function ownThread(): readonly string[] | null {
  try {
    const thread = basename(readlinkSync('/proc/thread-self'))
    writeFileSync(`${TASKS}/${thread}/comm`, NAME)
    return onProcessor(thread) === null ? null : [thread]
  } catch {
    return null
  }
}

/** Nanoseconds. */
function onProcessor(thread: string): number | null {
  const text = readTask(thread, 'schedstat')
  return text === null ? null : Number(text.split(' ')[0])
}

/** null for a thread that has ended. */
function readTask(thread: string, file: string): string | null {
  try {
    return readFileSync(`${TASKS}/${thread}/${file}`, 'utf8')
  } catch {
    return null
  }
}
