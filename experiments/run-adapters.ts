/**
 * @file Which adapter of a run is meant: the one that its clients share, or one client's own (topology `local`).
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../shared/errors.js'
import { namedAdapters } from '../shared/model/adapter-folders.node.js'
import type { RunReference } from './runs.js'

export type WhichAdapter = 'last' | 'best'

/** Where it lies, and whose it is; null: everybody's. */
export interface RunAdapter {
  readonly folder: string
  readonly client: string | null
}

/**
 * The run's adapters: one, unless every client has its own.
 * @param client only this client's
 * @throws UserError ADAPTER_NOT_FOUND if there is none yet, BAD_ARGUMENT for a client that has none of its own.
 */
export function adaptersOfRun(run: RunReference, which: WhichAdapter, client?: string): readonly RunAdapter[] {
  const folder = join(run.folder, folderOf(which))
  if (!existsSync(folder)) throw noAdapter(run, which)
  const names = namedAdapters(folder)
  const all = names.length === 0 ? [{ folder, client: null }] : names.map((name) => ({ folder: join(folder, name), client: name }))
  if (client === undefined) return all
  const own = all.filter((adapter) => adapter.client === client)
  if (own.length === 0) throw notThisClients(run, client, names)
  return own
}

/** The one adapter that is meant. @throws UserError as adaptersOfRun, BAD_ARGUMENT where there are several. */
export function adapterOfRun(run: RunReference, which: WhichAdapter, client?: string): RunAdapter {
  const [adapter, ...others] = adaptersOfRun(run, which, client)
  if (others.length === 0) return adapter!
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `the run ${run.name} (${run.id}) has more than one adapter`,
    why: `its topology is local: each of ${namesOf([adapter!, ...others])} has its own`,
    fix: `say whose with --client, such as --client ${adapter!.client}`,
  })
}

function folderOf(which: WhichAdapter): string {
  return which === 'best' ? 'adapter-best' : 'adapter'
}

function namesOf(adapters: readonly RunAdapter[]): string {
  return adapters.map(({ client }) => client).join(', ')
}

function noAdapter(run: RunReference, which: WhichAdapter): UserError {
  const other = which === 'best' ? 'last' : 'best'
  const hasOther = existsSync(join(run.folder, folderOf(other)))
  return new UserError({
    code: 'ADAPTER_NOT_FOUND',
    what: `the run ${run.name} (${run.id}) has no ${which} adapter`,
    why: `${run.folder} has no folder ${folderOf(which)}; the first is written after a round`,
    fix: hasOther
      ? `take the one in ${folderOf(other)}: ${which === 'best' ? 'leave out --best' : 'add --best'}`
      : 'let the run finish a round, or name another run',
  })
}

function notThisClients(run: RunReference, client: string, names: readonly string[]): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `the run ${run.name} (${run.id}) has no adapter of ${client}`,
    why: names.length === 0 ? 'its clients share one adapter' : `each of ${names.join(', ')} has its own`,
    fix: names.length === 0 ? 'leave out --client' : 'correct --client',
  })
}
