/**
 * @file The config of a run that goes on: what may differ from what it began with, and what must not. Pure.
 */
import { unreachable, UserError } from '../../shared/errors.js'
import type { Config } from '../../shared/config/schema.js'

/** Keys that change no number of a run: where it writes, how its messages travel, how long it waits, and where the same model lies. */
const FREE_KEYS = new Set([
  ...['model.model_name_or_path', 'model.revision'],
  ...['federation.on_client_loss', 'federation.reconnect_s', 'federation.step_deadline_s', 'federation.round_deadline_s'],
  'federation.min_available_clients',
  ...['transport.kind', 'transport.max_chunk_bytes', 'transport.max_inflight_bytes', 'transport.tls', 'transport.token_file'],
])
const FREE_GROUP = 'output.'
/** May grow: a run can be trained further. */
const ROUNDS = 'federation.num_rounds'

/**
 * What the run goes on with: as asked, in the folder that it has.
 * @param own what it was begun with
 * @throws UserError RESUME_DIFFERS naming the keys that are others and would make it another run.
 */
export function configToGoOnWith(own: Config, asked: Config): Config {
  const [before, after] = [leaves(own), leaves(asked)]
  const differing = [...new Set([...before.keys(), ...after.keys()])].filter(
    (key) => !FREE_KEYS.has(key) && !key.startsWith(FREE_GROUP) && key !== ROUNDS && before.get(key) !== after.get(key),
  )
  const fewer = asked.federation.num_rounds < own.federation.num_rounds
  if (fewer) differing.push(ROUNDS)
  if (differing.length > 0)
    throw new UserError({
      code: 'RESUME_DIFFERS',
      what: 'the run cannot go on with this config',
      why: `it was begun with another: ${differing.map((key) => `${key} is ${after.get(key) ?? 'not set'} now, and was ${before.get(key) ?? 'not set'}`).join('; ')}`,
      fix: `leave the config out, and the run goes on with its own${fewer && differing.length === 1 ? '; federation.num_rounds may only grow' : ', or start a new run'}`,
    })
  const { output_dir, run_name } = own.output
  return { ...asked, output: { ...asked.output, output_dir, run_name } }
}

/** Values by `group.key`, as JSON. */
function leaves(config: Config): Map<string, string> {
  return new Map(
    Object.entries(config).flatMap(([group, keys]) =>
      Object.entries(keys as Readonly<Record<string, unknown>>).map(([key, value]): [string, string] => [
        `${group}.${key}`,
        // In a fixed order: a mapping says the same whichever of its keys comes first.
        JSON.stringify(value, sorted) ?? unreachable(`no value for ${group}.${key}`),
      ]),
    ),
  )
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
