/**
 * @file Folders that appear whole or not at all.
 */
import { renameSync } from 'node:fs'
import { readdir, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { UserError } from '../errors.js'
import { makeTemporaryFolder, removeAtExit, syncFolder, temporaryPath } from './atomic-file.node.js'

/**
 * Says why a new folder cannot go to `folder`, before anything is computed.
 *
 * @throws UserError BAD_ARGUMENT if something is there already that is no empty folder.
 */
export async function refuseOccupied(folder: string): Promise<void> {
  const target = resolve(folder)
  const stats = await stat(target).catch(() => null)
  if (stats === null) return
  const inside = stats.isDirectory() ? await readdir(target) : []
  if (stats.isDirectory() && inside.length === 0) return
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `nothing was written to ${target}`,
    why: stats.isDirectory() ? `it is a folder with ${inside.length} entries, such as ${inside[0]!}` : 'a file is in its place',
    fix: 'name a folder that does not exist yet, or an empty one',
  })
}

/**
 * Makes a folder of what `write` puts in it. If anything fails, nothing of it stays.
 *
 * @param folder does not exist, or is empty; its parents are made.
 * @param write gets a temporary folder beside the target.
 * @returns what `write` returns.
 * @throws UserError BAD_ARGUMENT as refuseOccupied, OUTPUT_UNWRITABLE for what the file system refuses, and whatever `write` throws.
 */
export async function writeNewFolder<Result>(folder: string, write: (temporary: string) => Promise<Result>): Promise<Result> {
  const target = resolve(folder)
  await refuseOccupied(target)
  const temporary = temporaryPath(target)
  const release = removeAtExit(temporary)
  try {
    await makeTemporaryFolder(temporary)
    const result = await write(temporary)
    await syncFolder(temporary)
    // An empty folder goes first: Windows renames nothing onto a folder.
    await rmdir(target).catch(() => undefined)
    // At once: a process that ends while the thread pool renames would remove files of a folder that then gets its place.
    renameSync(temporary, target)
    release()
    await syncFolder(dirname(target))
    return result
  } catch (error) {
    // What could not be made cannot be removed either, and the first error tells more.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined)
    throw asOutputError(target, error)
  } finally {
    release()
  }
}

/** A file system's error as a UserError; any other error as it is. */
export function asOutputError(path: string, error: unknown): unknown {
  if (error instanceof UserError || !(error instanceof Error && 'syscall' in error)) return error
  return new UserError(
    {
      code: 'OUTPUT_UNWRITABLE',
      what: `${basename(path)} cannot be written to ${dirname(path)}`,
      why: error.message,
      fix: 'make room there, make it writable, or name another folder',
    },
    { cause: error },
  )
}
