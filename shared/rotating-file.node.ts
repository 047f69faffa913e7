/**
 * @file A text file that lines are appended to, and that is set aside when it is full: `server.log` becomes `server.log.1`, that `server.log.2`, and
 * so on; the oldest goes.
 *
 * Written synchronously, so that what was said before a crash is in the file. No library does all of that: those that rotate write behind the
 * caller's back, and lose what is in their buffers when the process is killed.
 */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

export interface RotationLimits {
  /** A file that would be longer is set aside first. */
  readonly maxBytes: number
  /** How many there are at most, the one that is written included. */
  readonly files: number
}

const NEW_LINE = 0x0a
/** A writer whose line never ends is cut: a disk is finite. */
const LONGEST_LINE_FILES = 2

export class RotatingFile {
  private descriptor: number | null
  private bytes = 0
  private isAtLineStart = true
  /** The last line is half of one, and nobody will write the rest. */
  private isCut: boolean
  /** Above the limit where a file could not be set aside. */
  private fullBytes: number

  /**
   * Goes on with the file that is there; its folder is made if need be.
   * @throws the file system's error, if it cannot be written
   */
  constructor(
    private readonly path: string,
    private readonly limits: RotationLimits,
  ) {
    mkdirSync(dirname(path), { recursive: true })
    this.fullBytes = limits.maxBytes
    this.descriptor = this.open()
    this.isCut = !this.isAtLineStart
  }

  /**
   * Appends text, which is in the file when the call returns. Lines stay whole: a file is set aside between them.
   *
   * Never throws: a disk that is full is noticed by what writes more than words, and what does not fit is left out. After `close` it does nothing.
   */
  append(text: string): void {
    if (this.descriptor === null || text === '') return
    const bytes = Buffer.from(this.isCut ? `\n${text}` : text)
    try {
      if (this.isFullFor(bytes.length)) this.setAside()
      for (let written = 0; written < bytes.length;) {
        const more = writeSync(this.descriptor, bytes, written)
        written += more
        this.bytes += more
        this.isAtLineStart = bytes[written - 1] === NEW_LINE
      }
      this.isCut = false
    } catch {
      this.isCut = !this.isAtLineStart
    }
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor)
    this.descriptor = null
  }

  private isFullFor(more: number): boolean {
    if (this.bytes === 0 || this.bytes + more <= this.fullBytes) return false
    return this.isAtLineStart || this.isCut || this.bytes >= LONGEST_LINE_FILES * this.fullBytes
  }

  /** Where a name cannot be changed the file grows on, until it is full once more: better than to lose what it says. */
  private setAside(): void {
    const before = this.descriptor
    try {
      this.renumber()
      this.descriptor = this.open()
    } catch {
      this.fullBytes += this.limits.maxBytes
      return
    }
    this.fullBytes = this.limits.maxBytes
    if (before !== null) closeSync(before)
  }

  private renumber(): void {
    const { files } = this.limits
    const numbered = (number: number): string => (number === 0 ? this.path : `${this.path}.${number}`)
    // The last, and those of a time when more were kept.
    for (let number = files; existsSync(numbered(number)); number++) rmSync(numbered(number))
    if (files === 1) return rmSync(this.path, { force: true })
    for (let number = files - 2; number >= 0; number--) if (existsSync(numbered(number))) renameSync(numbered(number), numbered(number + 1))
  }

  private open(): number {
    const descriptor = openSync(this.path, 'a+')
    this.bytes = fstatSync(descriptor).size
    const last = Buffer.alloc(1)
    this.isAtLineStart = this.bytes === 0 || (readSync(descriptor, last, 0, 1, this.bytes - 1) === 1 && last[0] === NEW_LINE)
    return descriptor
  }
}
