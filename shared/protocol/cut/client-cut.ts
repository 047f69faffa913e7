/**
 * @file A client's end of the cut: packs its activations and unpacks gradients, with what both ends remember of its rows. It lives as long as the
 * client's part in a run; a client that joins anew begins with nothing, and so does the server with it.
 *
 * What the server holds of a row is certain only once it has answered. Until then the client goes by what was certain before, and forgets a row whose
 * message was given up: that row is told whole the next time.
 */
import type { Random } from '../../random.js'
import type { F32Tensor } from '../../tensor.js'
import { invalid } from '../codec/codec.js'
import { checkCoded, decodeTensor, encodeTensor, type CutCodecs } from '../codec/index.js'
import { Likeness } from '../codec/likeness.js'
import { RowDecoder } from '../codec/row-decoder.js'
import { changeEncoder, feedbackEncoder, type RowEncoder, type Told } from '../codec/row-encoder.js'
import type { BatchRows, CutMemory, RowMemory } from '../codec/row-memory.js'
import { wireName } from '../codec/wire-name.js'
import type { Activations, Gradients } from '../messages.js'
import { decodeAges, encodeRows, rowsForm, type RowsForm } from './rows.js'

/** A training batch that was packed and has no answer yet. */
interface Open {
  readonly rows: BatchRows
  readonly version: number
  readonly told: Told | null
}

export class ClientCut {
  private readonly form: RowsForm | null
  private readonly told: RowMemory
  private readonly likeness: Likeness | null = null
  private readonly encoder: RowEncoder | null = null
  private readonly decoder: RowDecoder | null = null
  private version = 0
  private open: Open | null = null

  constructor(
    private readonly codecs: CutCodecs,
    memory: CutMemory,
  ) {
    const { activations, gradients } = codecs
    this.form = rowsForm(codecs)
    this.told = memory.activations
    if (activations.history?.kind === 'changes') {
      const { reuse } = activations.history
      this.likeness = reuse && new Likeness(reuse)
      this.encoder = changeEncoder(activations.history, this.told, this.likeness)
    } else if (activations.history) this.encoder = feedbackEncoder(activations, this.told)
    if (gradients.history?.kind === 'changes') this.decoder = new RowDecoder(gradients.history, memory.gradients)
  }

  packEvaluation({ data, shape }: F32Tensor): Pick<Activations, 'hidden' | 'rows'> {
    const context = { purpose: 'activations', random: null } as const
    return { hidden: encodeTensor(this.codecs.evaluation, data, shape, context), rows: new Uint8Array(0) }
  }

  /** @param rows of a training batch; null: nobody is to remember them */
  pack({ data, shape }: F32Tensor, rows: BatchRows | null, random: Random | null): Pick<Activations, 'hidden' | 'rows'> {
    const context = { purpose: 'activations' as const, random }
    if (rows === null) return { hidden: encodeTensor(this.codecs.activations, data, shape, context), rows: new Uint8Array(0) }
    const version = ++this.version
    const told = this.encoder?.encode(data, shape, rows, version, context) ?? null
    this.open = { rows, version, told }
    return {
      hidden: told
        ? { codec: wireName(told.name), shape: [...shape], bytes: told.bytes }
        : encodeTensor(this.codecs.activations, data, shape, context),
      rows: this.form
        ? encodeRows({
            version,
            numbers: rows.numbers,
            against: this.form.against ? told!.against : [],
            held: this.decoder?.held(rows, shape[1]) ?? [],
          })
        : new Uint8Array(0),
    }
  }

  /**
   * The gradient [tokens, width] that answers what was packed last.
   * @throws UserError MESSAGE_INVALID
   */
  read({ hidden, rows }: Pick<Gradients, 'hidden' | 'rows'>, shape: readonly number[]): Float32Array {
    const { open, decoder } = this
    this.open = null
    open?.told?.keep()
    if (!open || !decoder) {
      if (rows.length > 0) throw invalid('gradients are told against rows, in a run where nobody remembers them')
      return decodeTensor(this.codecs.gradients, hidden, shape)
    }
    checkCoded(hidden, this.codecs.gradients.history!.name, shape)
    const against = decodeAges(rows, open.rows.numbers.length, open.version)
    const heard = decoder.decode(hidden.bytes, open.rows, shape[1], open.version, against)
    if (!heard) throw invalid('gradients are told against others than the client holds')
    heard.keep()
    return heard.values
  }

  /** What was packed last is given up, or the server did not understand it: whatever it holds of those rows now, they are told whole the next time. */
  forget(): void {
    const { open } = this
    this.open = null
    // What feedback keeps is the client's alone, and still true.
    if (open && this.codecs.activations.history?.kind === 'changes')
      for (let index = 0; index < open.rows.numbers.length; index++) this.told.forget(open.rows.numbers[index])
  }

  /** How the training goes: `reuse` follows it. @param nll summed over so many tokens of that round */
  heardLoss(round: number, nll: number, tokens: number): void {
    this.likeness?.heard(round, nll, tokens)
  }
}
