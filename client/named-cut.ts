/**
 * @file The client's end of the cut with the codecs that the server tells it.
 */
import { UserError } from '../shared/errors.js'
import { openCutCodecs } from '../shared/protocol/codec/index.js'
import { cutMemory } from '../shared/protocol/codec/row-memory.js'
import type { CutCodecNames } from '../shared/protocol/codec/setting.js'
import { ClientCut } from '../shared/protocol/cut/client-cut.js'

export class NamedCut {
  private told: CutCodecNames | null = null
  private cut: ClientCut | null = null

  /** @param cacheBytes that codecs may hold of rows in each direction */
  constructor(
    private readonly loraRank: number,
    private readonly cacheBytes: number,
  ) {}

  /**
   * From here on tensors are packed with these. Others than before end what was remembered of rows, on the server's end too.
   * @param names null: none, which is no way to train through a server
   * @throws UserError MESSAGE_INVALID for a name that is no codec's
   */
  async use(names: CutCodecNames | null): Promise<void> {
    if (names === null) throw noCodecs('it names none, in a run that is split')
    if (this.told?.activations === names.activations && this.told.gradients === names.gradients) return
    this.cut = new ClientCut(await openCutCodecs(names, this.loraRank), cutMemory(this.cacheBytes))
    this.told = names
  }

  /** @throws UserError MESSAGE_INVALID before `use` */
  get current(): ClientCut {
    if (!this.cut) throw noCodecs('it names none before it asks for work')
    return this.cut
  }
}

function noCodecs(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the server does not say how tensors are packed',
    why,
    fix: 'make sure that both ends run the same version of cutlayer',
  })
}
