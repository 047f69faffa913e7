/**
 * @file A file system so small that tests can fill it, or one that cannot be written: a tmpfs, where this process may mount one.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What tmpfs counts in. */
export const PAGE_BYTES = 4096

export interface DiskOptions {
  readonly bytes: number
  /** Files and folders that it can hold, itself included; many, unless given. */
  readonly inodes?: number
}

/** Whether `mount` works here; if not, why, to be printed where tests are left out. */
export function whyNoDisk(): string | null {
  try {
    new SmallDisk({ bytes: PAGE_BYTES }).remove()
    return null
  } catch (error) {
    return `no tmpfs can be mounted here (${error instanceof Error ? error.message.split('\n')[0] : String(error)})`
  }
}

export class SmallDisk {
  readonly folder: string

  constructor({ bytes, inodes = 1000 }: DiskOptions) {
    this.folder = mkdtempSync(join(tmpdir(), 'small-disk-'))
    try {
      mount('-t', 'tmpfs', '-o', `size=${bytes},nr_inodes=${inodes}`, 'none', this.folder)
    } catch (error) {
      rmSync(this.folder, { recursive: true })
      throw error
    }
  }

  at(...parts: string[]): string {
    return join(this.folder, ...parts)
  }

  /** Takes what room there is but for so many bytes, in pages. Again: with another remainder. */
  fill(leavingBytes: number): void {
    const filler = openSync(this.at('filler'), 'w')
    try {
      ftruncateSync(filler, 0)
      const { bavail, bsize } = statfsSync(this.folder)
      const bytes = Buffer.alloc(Math.max(0, bavail * bsize - leavingBytes))
      for (let written = 0; written < bytes.length;) written += writeSync(filler, bytes, written)
    } catch (error) {
      // A process that writes there at the same time may have taken the last of it.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
    } finally {
      closeSync(filler)
    }
  }

  /** From now on nothing can be written. */
  makeReadOnly(...folders: string[]): void {
    for (const folder of folders) mkdirSync(this.at(folder), { recursive: true })
    mount('-o', 'remount,ro', this.folder)
  }

  remove(): void {
    execFileSync('umount', ['-l', this.folder], { stdio: 'pipe' })
    rmSync(this.folder, { recursive: true })
  }
}

function mount(...args: string[]): void {
  execFileSync('mount', args, { stdio: 'pipe' })
}
