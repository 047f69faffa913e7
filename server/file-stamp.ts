/**
 * @file Tells whether a file is another than before, for what is read again when it changes.
 */
import { statSync } from 'node:fs'

/** How often files that may change are looked at. Looking works on every file system; being told does not. */
export const LOOK_MS = 1000

/** Another text after each change: a file that was replaced has another inode, even within the clock's resolution. */
export function stampOf(path: string): string {
  try {
    const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
    return [ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'gone'
  }
}
