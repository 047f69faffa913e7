/**
 * @file The server's ends of the cuts with its clients: each packs and unpacks with the codecs that its client was told last.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import { openCutCodecs, type CutCodecs } from '../shared/protocol/codec/index.js'
import { cutMemory } from '../shared/protocol/codec/row-memory.js'
import { allCodecs, type CutCodecNames } from '../shared/protocol/codec/setting.js'
import { ServerCut } from '../shared/protocol/cut/server-cut.js'
import type { ClientId } from './round-state.js'

/** Every codec that a client may be told, open. */
export interface CodecBook {
  /** By the activations' codec: with that of evaluations beside it. */
  readonly activations: ReadonlyMap<string, Pick<CutCodecs, 'activations' | 'evaluation'>>
  readonly gradients: ReadonlyMap<string, CutCodecs['gradients']>
}

export async function openCodecBook({ transport, lora }: Pick<Config, 'transport' | 'lora'>): Promise<CodecBook> {
  const activations = allCodecs(transport.activation_codec, 'activations')
  const gradients = allCodecs(transport.gradient_codec, 'gradients')
  const ofActivations = activations.map(async (name) => {
    return [name, await openCutCodecs({ activations: name, gradients: gradients[0] }, lora.r)] as const
  })
  const ofGradients = gradients.map(async (name) => {
    return [name, (await openCutCodecs({ activations: activations[0], gradients: name }, lora.r)).gradients] as const
  })
  return { activations: new Map(await Promise.all(ofActivations)), gradients: new Map(await Promise.all(ofGradients)) }
}

export class ClientCuts {
  private readonly names = new Map<ClientId, CutCodecNames>()
  private readonly cuts = new Map<ClientId, ServerCut>()

  /** @param cacheBytes that codecs may hold of each client's rows in each direction */
  constructor(
    private readonly book: CodecBook,
    private readonly cacheBytes: number,
  ) {}

  /** From here on the client packs with these, and is answered with them. Others than before end what was remembered of its rows, on its end too. */
  use(client: ClientId, names: CutCodecNames): void {
    const before = this.names.get(client)
    if (before?.activations === names.activations && before.gradients === names.gradients) return
    this.names.set(client, names)
    this.cuts.delete(client)
  }

  of(client: ClientId): ServerCut {
    const known = this.cuts.get(client)
    if (known) return known
    const cut = new ServerCut(this.codecsOf(client), cutMemory(this.cacheBytes))
    this.cuts.set(client, cut)
    return cut
  }

  /** Lets go of all that is remembered of a client's rows: its next process knows nothing of it. */
  forget(client: ClientId): void {
    this.cuts.delete(client)
  }

  private codecsOf(client: ClientId): CutCodecs {
    const names = this.names.get(client) ?? unreachable(`activations of ${client}, which was told no codec`)
    const activations = this.book.activations.get(names.activations)
    const gradients = this.book.gradients.get(names.gradients)
    if (!activations || !gradients) return unreachable(`${client} was told codecs that are not open`)
    return { ...activations, gradients }
  }
}
