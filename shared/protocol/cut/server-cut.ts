/**
 * @file The server's end of the cut with one client: unpacks its activations and packs gradients, with what both ends remember of the client's rows.
 */
import type { Random } from '../../random.js'
import type { F32Tensor } from '../../tensor.js'
import { invalid } from '../codec/codec.js'
import { checkCoded, decodeTensor, encodeTensor, type CutCodecs } from '../codec/index.js'
import { RowDecoder } from '../codec/row-decoder.js'
import { changeEncoder, feedbackEncoder, type RowEncoder } from '../codec/row-encoder.js'
import type { CutMemory } from '../codec/row-memory.js'
import { wireName } from '../codec/wire-name.js'
import type { Activations, Gradients } from '../messages.js'
import { decodeRows, encodeAges, rowsForm, type RowsForm, type TrackedRows } from './rows.js'

/** Activations that were unpacked. */
export interface CutRead {
  /** [tokens, width]. */
  readonly values: Float32Array
  /** What the answer goes by; null where nobody is to remember these rows. */
  readonly rows: TrackedRows | null
  /** To be called once the message is taken: until then nothing has changed. */
  keep(): void
}

export class ServerCut {
  private readonly form: RowsForm | null
  private readonly decoder: RowDecoder | null = null
  private readonly encoder: RowEncoder | null = null
  private latest = 0
  /** The request that was asked for again. */
  private asked: string | null = null

  constructor(
    private readonly codecs: CutCodecs,
    memory: CutMemory,
  ) {
    const { activations, gradients } = codecs
    this.form = rowsForm(codecs)
    if (activations.history?.kind === 'changes') this.decoder = new RowDecoder(activations.history, memory.activations)
    if (gradients.history?.kind === 'changes') this.encoder = changeEncoder(gradients.history, memory.gradients, null)
    else if (gradients.history) this.encoder = feedbackEncoder(gradients, memory.gradients)
  }

  /**
   * @param lengths tokens of each row, checked
   * @returns null if it is told against rows that are not held as the client believes: it is to be asked for again, whole
   * @throws UserError MESSAGE_INVALID, also if it was asked for again before
   */
  read(message: Activations, lengths: Int32Array, shape: readonly number[]): CutRead | null {
    if (message.rows.length === 0) {
      const codec = message.purpose === 'evaluate' ? this.codecs.evaluation : this.codecs.activations
      return { values: decodeTensor(codec, message.hidden, shape), rows: null, keep: () => {} }
    }
    if (!this.form || message.purpose !== 'train') throw invalid('it names rows, and nobody is to remember them')
    const rows = decodeRows(message.rows, lengths, this.form)
    if (rows.version <= this.latest) throw invalid(`message ${rows.version} comes after message ${this.latest}`)
    const { version } = rows
    if (!this.decoder) {
      const values = decodeTensor(this.codecs.activations, message.hidden, shape)
      return { values, rows, keep: () => void (this.latest = version) }
    }
    checkCoded(message.hidden, this.codecs.activations.history!.name, shape)
    const heard = this.decoder.decode(message.hidden.bytes, rows, shape[1], version, rows.against)
    if (!heard) {
      this.askAgain(message)
      return null
    }
    return {
      values: heard.values,
      rows,
      keep: () => {
        this.latest = version
        heard.keep()
      },
    }
  }

  /** The answer. From here on the client is taken to hold it; where it does not, its next activations tell. */
  answer({ data, shape }: F32Tensor, rows: TrackedRows | null, random: Random | null): Pick<Gradients, 'hidden' | 'rows'> {
    const context = { purpose: 'gradients' as const, random }
    if (!rows || !this.encoder) return { hidden: encodeTensor(this.codecs.gradients, data, shape, context), rows: new Uint8Array(0) }
    const { name, bytes, against, keep } = this.encoder.encode(data, shape, rows, rows.version, context, rows.held)
    keep()
    return {
      hidden: { codec: wireName(name), shape: [...shape], bytes },
      rows: this.codecs.gradients.history?.kind === 'changes' ? encodeAges(rows.version, against) : new Uint8Array(0),
    }
  }

  private askAgain({ round, attempt, step, micro }: Activations): void {
    const request = `${round}/${attempt}/${step}/${micro}`
    if (this.asked === request) throw invalid('it is told against rows that are not held, and was to come whole')
    this.asked = request
  }
}
