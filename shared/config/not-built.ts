/**
 * @file Config values that are planned, and refused by name until they are built. Whoever builds one deletes its entry here
 * and widens the key in `groups.ts`.
 */
import { UserError } from '../errors.js'
import { isMapping, valueAt } from './paths.js'

interface Planned {
  /** group.key */
  readonly key: string
  /** Whether a value, as the file has it, asks for what is not built. */
  readonly asksForIt: (value: unknown) => boolean
  /** What to write in its place. */
  readonly instead: string
}

const oneOf =
  (...values: readonly unknown[]) =>
  (value: unknown): boolean =>
    values.includes(value)
const isFilled = (value: unknown): boolean => isMapping(value) && Object.keys(value).length > 0

const STRATEGIES = [
  ...['fedprox', 'scaffold', 'fedavgm', 'fedadam', 'fedyogi', 'fedadagrad', 'fedopt'],
  ...['ffa', 'ffa-lora', 'rolora', 'fedex', 'fedex-lora', 'flora', 'stacking', 'flexlora', 'hetlora'],
]

export const NOT_BUILT: readonly Planned[] = [
  { key: 'model.precision', asksForIt: oneOf('int8'), instead: 'fp32 or q8' },
  { key: 'split.cut_layer', asksForIt: isMapping, instead: 'one number for all clients' },
  { key: 'split.tail_layers', asksForIt: (value) => typeof value === 'number' && value > 0, instead: '0' },
  { key: 'lora.init_lora_weights', asksForIt: oneOf(false, 'eva', 'olora', 'pissa', 'loftq', 'orthogonal'), instead: 'true or gaussian' },
  { key: 'federation.strategy', asksForIt: oneOf(...STRATEGIES), instead: 'fedavg, or a file of your own such as ./my-strategy.js' },
  { key: 'privacy', asksForIt: isFilled, instead: 'no key at all' },
  { key: 'output.report_to', asksForIt: (value) => value === 'tensorboard' || Array.isArray(value), instead: 'jsonl' },
]

/**
 * @param raw a config as its file has it, known keys only
 * @throws UserError CONFIG_NOT_BUILT for the first value that asks for something planned.
 */
export function refuseNotBuilt(raw: unknown, source: string): void {
  for (const { key, asksForIt, instead } of NOT_BUILT) {
    const value = valueAt(raw, key)
    if (!asksForIt(value)) continue
    const shown = key === 'privacy' && isMapping(value) ? Object.keys(value).join(', ') : JSON.stringify(value)
    throw new UserError({
      code: 'CONFIG_NOT_BUILT',
      what: `${source} asks for something that cutlayer cannot do yet`,
      why: `${key}: ${shown} is planned, but not built`,
      fix: `use ${instead}`,
    })
  }
}
