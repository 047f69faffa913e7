/**
 * @file Writes a run's directory: `<output_dir>/<YYYYMMDD-HHMMSS>_<name>_<id>/`.
 *
 * Lines are appended whole, in the turn in which they came, so that a crash loses at most what that turn brought. No token ever comes here:
 * the config holds the token's file, not the token.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { arch, cpus, hostname, platform, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import type { Config } from '../shared/config/schema.js'
import { unreachable, UserError } from '../shared/errors.js'
import { LineFiles } from './line-files.js'
import { takeRunLock, type RunLock } from './run-lock.js'
import {
  type ModelFacts,
  type Metadata,
  RECORDS_VERSION,
  type RoundLine,
  type RunGroup,
  type RunEvent,
  type StepLine,
  type Summary,
  type TrafficLine,
  withoutNaN,
} from '../shared/run-records.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import { packageVersion } from '../shared/version.node.js'

export interface RunDirectory {
  /** Absolute. */
  readonly folder: string
  readonly id: string
  readonly name: string
  readonly created: Date
  /** Where the last adapter goes; not made yet. */
  readonly adapterDir: string
  readonly bestAdapterDir: string
  /** Of a client's own adapter, in the topology `local`; null: of the one that all share. */
  bestAdapterDirOf(client: string | null): string
  readonly checkpointsDir: string
  /** Lines are in their files at the end of the turn of the event loop. A method that appends may also tell what went wrong with a line before. */
  appendRound(line: RoundLine): void
  appendStep(line: StepLine): void
  appendTraffic(line: TrafficLine): void
  /** Adds the time. */
  appendEvent(event: RunEvent): void
  writeSummary(summary: Omit<Summary, 'schema_version'>): void
  /** Forces all lines to disk. */
  sync(): Promise<void>
  /** Does what writes into the folder. @throws UserError RUN_DIR_UNWRITABLE in place of errors of the system's */
  writing<Result>(action: () => Promise<Result>): Promise<Result>
  /** Path of a log: `server`, or `client-<id>`. */
  logFile(name: string): string
  close(): void
  /** Takes the folder away, of a run that did not come to begin. */
  remove(): void
}

export interface RunFacts {
  readonly outputDir: string
  /** Letters, digits, dots, dashes and underscores. */
  readonly name: string
  /** Letters and digits; a random one unless given. */
  readonly id?: string
  readonly config: Config
  readonly metadata: {
    /** The command line, without the program. */
    readonly argv: readonly string[]
    readonly model: ModelFacts
    /** The user's own code that the run uses. */
    readonly code?: NonNullable<Metadata['code']>
    /** Of a run that is one of several. */
    readonly group?: RunGroup
    /** Of the libraries that compute, by name; cutlayer's and Node's own are added. */
    readonly versions?: Readonly<Record<string, string>>
  }
  readonly now?: Date
  readonly trace?: Trace
}

type Lines = 'rounds' | 'steps' | 'events' | 'traffic'

/**
 * Makes a new run's folder, with its config.yaml, metadata.json and empty line files.
 *
 * @throws UserError RUN_DIR_UNWRITABLE, here and from every method that writes
 */
export function createRunDirectory({
  outputDir,
  name,
  id = randomBytes(3).toString('hex'),
  config,
  metadata,
  now = new Date(),
  trace = silentTrace,
}: RunFacts): RunDirectory {
  if (!/^[A-Za-z0-9._-]+$/.test(name) || !/^[A-Za-z0-9]+$/.test(id)) unreachable(`"${name}_${id}" cannot name a run's folder`)
  const folder = resolve(outputDir, `${stamp(now)}_${name}_${id}`)
  return writing(folder, () => {
    mkdirSync(resolve(outputDir), { recursive: true })
    mkdirSync(folder) // fails if the folder is there: no run writes into another
    let lock: RunLock | null = null
    try {
      lock = takeRunLock(lockFile(folder))
      for (const inner of ['metrics', 'logs']) mkdirSync(join(folder, inner))
      writeFileSync(join(folder, 'config.yaml'), stringify(config))
      writeJson(join(folder, 'metadata.json'), metadataOf(id, name, metadata, now))
      return directoryIn({ folder, id, name, created: now }, lock, trace)
    } catch (error) {
      lock?.release()
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  })
}

/** A run that goes on in its folder. */
export interface RunToReopen {
  readonly folder: string
  /** Of the folder, taken before anything in it was read; the directory releases it. */
  readonly lock: RunLock
  readonly metadata: Metadata
  /** What it goes on with. */
  readonly config: Config
  readonly resumed: { readonly argv: readonly string[]; readonly versions: Readonly<Record<string, string>> }
  readonly trace?: Trace
}

/**
 * Opens a run's folder again: lines are appended behind those that are there, and the summary of its last end goes.
 * @throws as createRunDirectory
 */
export function reopenRunDirectory({ folder, lock, metadata, config, resumed, trace = silentTrace }: RunToReopen): RunDirectory {
  return writing(folder, () => {
    for (const inner of ['metrics', 'logs']) mkdirSync(join(folder, inner), { recursive: true })
    const again = { time: new Date().toISOString(), argv: [...resumed.argv], pid: process.pid, versions: versionsOf(resumed.versions) }
    writeJson(join(folder, 'metadata.json'), { ...metadata, resumed: [...(metadata.resumed ?? []), again] })
    writeWhole(join(folder, 'config.yaml'), stringify(config))
    rmSync(summaryFile(folder), { force: true })
    const { id, name } = metadata
    return directoryIn({ folder, id, name, created: new Date(metadata.created) }, lock, trace)
  })
}

/** Names the process that writes the run, see run-lock.ts. */
export function lockFile(folder: string): string {
  return join(folder, 'run.lock')
}

function summaryFile(folder: string): string {
  return join(folder, 'metrics', 'summary.json')
}

function writing<Result>(folder: string, action: () => Result): Result {
  try {
    return action()
  } catch (cause) {
    throw unwritable(folder, cause)
  }
}

function directoryIn(
  { folder, ...names }: Pick<RunDirectory, 'folder' | 'id' | 'name' | 'created'>,
  lock: RunLock,
  trace: Trace,
): RunDirectory {
  const at = (path: string): string => join(folder, path)
  const files = new LineFiles<Lines>(
    {
      rounds: at('metrics/rounds.jsonl'),
      steps: at('metrics/steps.jsonl'),
      events: at('events.jsonl'),
      traffic: at('traffic.jsonl'),
    },
    trace,
  )
  const append = (kind: Lines, line: Readonly<Record<string, unknown>>): void =>
    writing(folder, () => files.append(kind, JSON.stringify(withoutNaN(line))))
  const bestAdapterDir = at('adapter-best')
  return {
    folder,
    ...names,
    adapterDir: at('adapter'),
    bestAdapterDir,
    bestAdapterDirOf: (client) => (client === null ? bestAdapterDir : join(bestAdapterDir, client)),
    checkpointsDir: at('checkpoints'),
    appendRound: (line) => append('rounds', line),
    appendStep: (line) => append('steps', line),
    appendTraffic: (line) => append('traffic', line),
    appendEvent: (event) => append('events', { time: new Date().toISOString(), ...event }),
    writeSummary: (summary) =>
      writing(folder, () => {
        files.flush()
        writeJson(summaryFile(folder), withoutNaN({ schema_version: RECORDS_VERSION, ...summary }))
      }),
    async sync() {
      await files.sync().catch((cause: unknown) => {
        throw unwritable(folder, cause)
      })
    },
    writing: (action) =>
      action().catch((cause: unknown) => {
        throw cause instanceof UserError ? cause : unwritable(folder, cause)
      }),
    logFile(logName) {
      if (!/^[A-Za-z0-9._-]+$/.test(logName)) unreachable(`"${logName}" cannot name a log file`)
      return join(folder, 'logs', `${logName}.log`)
    },
    close() {
      files.close()
      lock.release()
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

function metadataOf(id: string, name: string, { argv, model, versions, code, group }: RunFacts['metadata'], now: Date): Metadata {
  const processors = cpus()
  return {
    schema_version: RECORDS_VERSION,
    id,
    name,
    created: now.toISOString(),
    host: {
      name: hostname(),
      platform: platform(),
      arch: arch(),
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memory_bytes: totalmem(),
    },
    versions: versionsOf(versions),
    argv: [...argv],
    pid: process.pid,
    model,
    ...(code ? { code } : {}),
    ...(group ? { group } : {}),
  }
}

function versionsOf(versions: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return { cutlayer: packageVersion(), node: process.versions.node, ...versions }
}

/** `20260131-235959`, UTC. */
function stamp(time: Date): string {
  return time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')
}

/** Whole or not at all: a crash leaves the old file or none, never half of one. */
function writeJson(path: string, value: unknown): void {
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`)
}

function writeWhole(path: string, text: string): void {
  const temporary = `${path}.tmp`
  try {
    writeFileSync(temporary, text)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

function unwritable(folder: string, cause: unknown): UserError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : null
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  return new UserError(
    {
      code: 'RUN_DIR_UNWRITABLE',
      what: "the run's folder cannot be written",
      why: `${folder}: ${isFull ? 'the disk is full' : cause instanceof Error ? cause.message : String(cause)}`,
      fix: isFull
        ? 'free room on that disk for logs, two adapters and checkpoints, or set output.output_dir to a folder on another'
        : 'set output.output_dir to a folder that you may write to, on a disk with room',
    },
    { cause },
  )
}
