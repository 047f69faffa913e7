/**
 * @file The clients that a config names, against those that `run` starts.
 */
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { clientsNamed } from '../shared/protocol/codec/setting.js'

/** A key that names a client which `run` does not start. */
export interface Stranger {
  readonly key: string
  readonly client: string
}

/** A server that is started by itself may have clients of any name; `run` calls them client-0, client-1 and so on. */
export function strangersOf(config: Config): Stranger[] {
  const own = new Set(Array.from({ length: clientCount(config) }, (_, index) => `client-${index}`))
  return (['activation_codec', 'gradient_codec'] as const).flatMap((key) =>
    clientsNamed(config.transport[key]).flatMap((client) => (own.has(client) ? [] : [{ key: `transport.${key}`, client }])),
  )
}

/** `client-0 to client-3` */
export function clientsOfRun(config: Config): string {
  const last = clientCount(config) - 1
  return last === 0 ? 'client-0' : `client-0 to client-${last}`
}

/** @throws UserError CONFIG_VALUE for a client that `run` will not start. */
export function refuseStrangers(config: Config): void {
  const [stranger] = strangersOf(config)
  if (!stranger) return
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: `${stranger.key} names ${stranger.client}, and this run has no such client`,
    why: `its clients are ${clientsOfRun(config)}`,
    fix: `correct ${stranger.key}, or set federation.num_clients`,
  })
}
