/**
 * @file What a plan counts as packed how: the codecs of each client of `run`. Pure.
 */
import { clientCount, type Config } from '../../shared/config/schema.js'
import { firstCodecs, type CutCodecNames } from '../../shared/protocol/codec/setting.js'

/** Clients that pack alike. */
export interface CodecGroup {
  readonly names: CutCodecNames
  readonly clients: number
}

/** Of a client by its place. What is left to its link counts as the safest that there is, which takes the most bytes. */
export function plannedCodecs({ transport }: Config, index: number): CutCodecNames {
  return firstCodecs(transport, `client-${index}`)
}

/** All clients, by what they pack with. */
export function codecGroups(config: Config): readonly CodecGroup[] {
  const groups = new Map<string, CodecGroup>()
  for (let index = 0; index < clientCount(config); index++) {
    const names = plannedCodecs(config, index)
    const key = `${names.activations} ${names.gradients}`
    groups.set(key, { names, clients: (groups.get(key)?.clients ?? 0) + 1 })
  }
  return [...groups.values()]
}
