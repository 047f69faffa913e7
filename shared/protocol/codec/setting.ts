/**
 * @file What a config says of one direction's codec: a name for all clients, or names by client id; `auto` in place of a name leaves it to the
 * measured link.
 */
import { AUTO_LADDER } from './ladder.js'
import { readCodecName, rememberingEnds } from './name.js'

export type Direction = 'activations' | 'gradients'

/** Both directions of one client. */
export interface CutCodecNames {
  readonly activations: string
  readonly gradients: string
}

export const AUTO = 'auto'

/** Names by client id; `default` is that of all other clients. */
export type CodecsByClient = Readonly<Record<string, string>> & { readonly default: string }
export type CodecSetting = string | CodecsByClient

/** The config's two keys. */
export interface CodecKeys {
  readonly activation_codec: CodecSetting
  readonly gradient_codec: CodecSetting
}

/** What keeps a name from being that of a codec for this direction, or `auto`; null: nothing. */
export function codecProblem(name: string, direction: Direction): string | null {
  if (name === AUTO) return null
  const read = readCodecName(name, direction)
  return 'problem' in read ? read.problem : null
}

/** The client's codec, or `auto`. */
export function settingOf(setting: CodecSetting, client: string): string {
  if (typeof setting === 'string') return setting
  return Object.hasOwn(setting, client) ? setting[client] : setting.default
}

/** The clients that a setting names. */
export function clientsNamed(setting: CodecSetting): string[] {
  return typeof setting === 'string' ? [] : Object.keys(setting).filter((key) => key !== 'default')
}

/** Every codec that the client may be told to use, of a direction that is left to its link all of them. */
export function possibleCodecs(setting: CodecSetting, client: string, direction: Direction): string[] {
  const name = settingOf(setting, client)
  return name === AUTO ? AUTO_LADDER.map((rung) => rung[direction].codec) : [name]
}

/** What the client's first round is packed with: of a direction that is left to its link the safest. */
export function firstCodecs({ activation_codec, gradient_codec }: CodecKeys, client: string): CutCodecNames {
  return {
    activations: possibleCodecs(activation_codec, client, 'activations')[0],
    gradients: possibleCodecs(gradient_codec, client, 'gradients')[0],
  }
}

/**
 * Codecs of a setting whose numbers depend on what has crossed before, or on how fast: a round that is made again, by ends that remember nothing, gives
 * others. Those that remember rows, and `auto`.
 */
export function unrepeatableCodecs(setting: CodecSetting): string[] {
  const names = typeof setting === 'string' ? [setting] : Object.values(setting)
  return [...new Set(names.filter((name) => name === AUTO || rememberingEnds(name) !== 'none'))]
}

/** Every codec that some client may be told to use. */
export function allCodecs(setting: CodecSetting, direction: Direction): string[] {
  const names = typeof setting === 'string' ? [setting] : Object.values(setting)
  return [...new Set(names.flatMap((name) => possibleCodecs(name, '', direction)))]
}
