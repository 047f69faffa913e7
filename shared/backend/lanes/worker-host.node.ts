/**
 * @file What a lane computes in, seen from outside: a thread of this process, or a process of its own.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker, type TransferListItem } from 'node:worker_threads'

export interface WorkerHost {
  /** @param moved buffers that the sender gives up, where a worker can take them */
  post(message: object, moved: readonly TransferListItem[]): void
  /** Keeps this process alive, or does not. */
  ref(): void
  unref(): void
}

interface Listeners {
  onMessage(message: unknown): void
  /** @param how as `ended with code 1` */
  onEnd(how: string): void
}

export type StartWorker = (listeners: Listeners) => WorkerHost

/** @param setup what `workerData` is in there */
export function inThread(url: URL, setup: object): StartWorker {
  return ({ onMessage, onEnd }) => {
    // Node flags of the main thread are not for workers: some, such as --input-type, keep one from starting.
    const worker = new Worker(url, { workerData: setup, execArgv: [] })
    worker.on('message', onMessage)
    worker.on('error', (error) => onEnd(`failed: ${error.message}`))
    worker.on('exit', (code) => onEnd(`ended with code ${code}`))
    return {
      post: (message, moved) => worker.postMessage(message, moved),
      ref: () => worker.ref(),
      unref: () => worker.unref(),
    }
  }
}

/**
 * For native code that reads its settings from the environment, or that several threads of a process must not run at once. It ends with this
 * process, however that ends.
 *
 * @param setup its first argument, as JSON
 * @param environment added to this process's
 */
export function inProcess(url: URL, setup: object, environment: Readonly<Record<string, string>>): StartWorker {
  return ({ onMessage, onEnd }) => {
    const child = fork(fileURLToPath(url), [JSON.stringify(setup)], {
      serialization: 'advanced',
      execArgv: [],
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    child.on('message', onMessage)
    child.on('error', (error) => onEnd(`failed: ${error.message}`))
    child.on('exit', (code, signal) => onEnd(signal === null ? `ended with code ${code}` : `was ended by ${signal}`))
    return {
      post(message) {
        // A process that is gone is told of by `exit`.
        if (child.connected) child.send(message, () => {})
      },
      ref() {
        child.ref()
        child.channel?.ref()
      },
      unref() {
        child.unref()
        child.channel?.unref()
      },
    }
  }
}
