/**
 * @file Finds runs by what a person calls them.
 */
import { type Dirent, existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { UserError } from './errors.js'
import { Metadata } from './run-records.js'

/** Where a run lies, and what its folder's name says. */
export interface RunReference {
  /** Absolute. */
  readonly folder: string
  readonly name: string
  readonly id: string
  /** When it started, UTC, as `20260131-235959`; sorts as time does. */
  readonly stamp: string
}

const FOLDER_NAME = /^(\d{8}-\d{6})_(.+)_([A-Za-z0-9]+)$/

/** All runs in a folder, oldest first; none if there is no such folder. */
export async function listRuns(outputDir: string): Promise<readonly RunReference[]> {
  let entries: Dirent[]
  try {
    entries = await readdir(outputDir, { withFileTypes: true })
  } catch {
    return []
  }
  const runs = entries.filter((entry) => entry.isDirectory()).map((entry) => referenceOf(join(resolve(outputDir), entry.name)))
  const dated = await Promise.all(runs.filter((run) => run !== null).map(async (run) => ({ run, startedMs: await startedMs(run.folder) })))
  // Two runs of the same second are told apart by the file that is written first in each.
  return dated
    .sort((a, b) => (a.run.stamp < b.run.stamp ? -1 : a.run.stamp > b.run.stamp ? 1 : a.startedMs - b.startedMs))
    .map(({ run }) => run)
}

function referenceOf(folder: string): RunReference | null {
  const match = FOLDER_NAME.exec(basename(folder))
  if (match === null || !existsSync(join(folder, 'config.yaml'))) return null
  const [, stamp, name, id] = match as unknown as [string, string, string, string]
  return { folder, stamp, name, id }
}

async function startedMs(folder: string): Promise<number> {
  return (await stat(join(folder, 'config.yaml'))).mtimeMs
}

/**
 * The run that a person means.
 *
 * @param reference a folder, a folder's name, a run's name (then its newest) or its id, a group's id (then its last); undefined: the newest of all
 * @throws UserError RUN_NOT_FOUND
 */
export async function findRun(reference: string | undefined, outputDir: string): Promise<RunReference> {
  if (reference !== undefined && existsSync(join(reference, 'config.yaml'))) {
    const folder = resolve(reference)
    return referenceOf(folder) ?? { folder, stamp: '', name: basename(folder), id: basename(folder) }
  }
  const runs = await listRuns(outputDir)
  const found =
    runs.findLast((run) => reference === undefined || [basename(run.folder), run.id, run.name].includes(reference)) ??
    (reference === undefined ? undefined : (await runsOfGroup(reference, outputDir)).at(-1))
  if (found !== undefined) return found
  throw new UserError({
    code: 'RUN_NOT_FOUND',
    what: reference === undefined ? 'there is no run to show' : `there is no run called ${reference}`,
    why:
      runs.length === 0
        ? `${resolve(outputDir)} holds no run`
        : `it is no folder, name or id of ${runs.length === 1 ? 'the one run' : `the ${runs.length} runs`} in ${resolve(outputDir)}`,
    fix:
      runs.length === 0
        ? 'start one with "cutlayer run", or name the folder of runs with --output-dir'
        : 'see "cutlayer list" for what there is',
  })
}

/** The runs that one command made of several seeds, in their order; none if there is no such group. */
export async function runsOfGroup(group: string, outputDir: string): Promise<readonly RunReference[]> {
  const runs = await listRuns(outputDir)
  const found = await Promise.all(
    runs.map(async (run) => {
      const own = await groupOf(run.folder)
      return own?.id === group ? [{ run, index: own.index }] : []
    }),
  )
  return found
    .flat()
    .sort((a, b) => a.index - b.index)
    .map(({ run }) => run)
}

async function groupOf(folder: string): Promise<Metadata['group'] | null> {
  try {
    return Metadata.parse(JSON.parse(await readFile(join(folder, 'metadata.json'), 'utf8'))).group
  } catch {
    return null // another program's, or none
  }
}
