/**
 * @file Files of lines that are appended while other work waits for nothing but the processor: lines are written once that work has had its
 * turn, all of a file at once.
 *
 * They are handed to the system in the same turn of the event loop, and before the process exits, so that a crash of the program loses none.
 * Nothing waits for the disk itself.
 */
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { unreachable } from '../shared/errors.js'
import type { Trace } from '../shared/trace.js'

interface LineFile {
  readonly descriptor: number
  waiting: string[]
}

export class LineFiles<Kind extends string> {
  private readonly files: ReadonlyMap<Kind, LineFile>
  private isOpen = true
  private turn: NodeJS.Immediate | null = null
  private failure: { readonly error: unknown; isTold: boolean } | null = null
  private readonly atExit = (): void => this.writeAll()

  /** @param paths of the files, which are made if need be. @throws Error of the system's */
  constructor(
    paths: Readonly<Record<Kind, string>>,
    private readonly trace: Trace,
  ) {
    const entries = Object.entries<string>(paths) as [Kind, string][]
    this.files = new Map(entries.map(([kind, path]) => [kind, { descriptor: openEnded(path), waiting: [] }]))
    process.on('exit', this.atExit)
  }

  /**
   * @param line without its end.
   * @throws Error of the system's if lines could not be written before: once, and nothing is written after it.
   */
  append(kind: Kind, line: string): void {
    // The number of a closed file may be another file's by now.
    if (!this.isOpen) unreachable(`a line of ${kind} after its file was closed`)
    this.check()
    this.files.get(kind)!.waiting.push(`${line}\n`)
    this.turn ??= setImmediate(() => this.writeAll())
  }

  /** Writes what waits. @throws as append. */
  flush(): void {
    this.writeAll()
    this.check()
  }

  /** Writes what waits, and forces the files to disk. @throws as append. */
  async sync(): Promise<void> {
    this.flush()
    if (this.isOpen) await Promise.all([...this.files.values()].map(({ descriptor }) => synced(descriptor)))
  }

  /** Writes what waits, if it can be, and closes the files. Again: nothing. */
  close(): void {
    if (!this.isOpen) return
    this.writeAll()
    this.isOpen = false
    process.off('exit', this.atExit)
    for (const { descriptor } of this.files.values()) closeSync(descriptor)
  }

  private check(): void {
    if (!this.failure || this.failure.isTold) return
    this.failure.isTold = true
    throw this.failure.error
  }

  /** Does not throw: nobody would hear of it in a turn of its own. */
  private writeAll(): void {
    if (this.turn) clearImmediate(this.turn)
    this.turn = null
    for (const [kind, file] of this.files) {
      const lines = file.waiting
      file.waiting = []
      if (this.failure || lines.length === 0) continue
      const end = this.trace.begin('files', `append to ${kind}`, { lines: lines.length })
      try {
        appendWhole(file.descriptor, lines)
      } catch (error) {
        this.failure = { error, isTold: false }
      }
      end()
    }
  }
}

const synced = promisify(fdatasync)

/** Behind a line that a crash has cut, the next one stands alone. */
function openEnded(path: string): number {
  const descriptor = openSync(path, 'a+')
  const { size } = fstatSync(descriptor)
  const last = Buffer.alloc(1)
  if (size > 0 && readSync(descriptor, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a) writeSync(descriptor, '\n')
  return descriptor
}

/** A single write may take only a part, for example when the disk is nearly full; of a line that cannot be written whole, nothing stays. */
function appendWhole(descriptor: number, lines: readonly string[]): void {
  const bytes = Buffer.from(lines.join(''))
  const { size } = fstatSync(descriptor)
  let written = 0
  try {
    while (written < bytes.length) written += writeSync(descriptor, bytes, written)
  } catch (error) {
    if (written > 0) ftruncateSync(descriptor, size + bytes.subarray(0, written).lastIndexOf(0x0a) + 1)
    throw error
  }
}
