/**
 * @file A client's requests for the files of the model: answered in the order they were made, and each answer is what was asked for.
 */
import { UserError } from '../shared/errors.js'
import type { ClientLink } from '../shared/protocol/link.js'
import type { FileRequest, MessageOf, ModelFiles, ServerMessage } from '../shared/protocol/messages.js'

/** Where a client gets what it lacks of the model. */
export interface FileSource {
  /** Which files there are. Ask once. @throws UserError if the link closes. */
  list(): Promise<ModelFiles>
  /**
   * A piece of a file of that list; several may be asked for at once.
   * @throws UserError MESSAGE_INVALID if the server sends another, or if the link closes.
   */
  piece(request: Omit<FileRequest, 'type'>): Promise<Uint8Array>
}

type Answer = ModelFiles | MessageOf<'file-piece'>

interface Waiting {
  readonly type: Answer['type']
  resolve(answer: Answer): void
  reject(error: Error): void
}

export class FileRequests implements FileSource {
  private readonly waiting: Waiting[] = []

  constructor(
    private readonly link: ClientLink,
    /** Throws once the server has gone on, and will not answer. */
    private readonly checkCurrent: () => void,
  ) {}

  async list(): Promise<ModelFiles> {
    return (await this.ask({ type: 'model-request' }, 'model-files')) as ModelFiles
  }

  async piece({ file, offset, bytes }: Omit<FileRequest, 'type'>): Promise<Uint8Array> {
    const answer = (await this.ask({ type: 'file-request', file, offset, bytes }, 'file-piece')) as MessageOf<'file-piece'>
    if (answer.file !== file || answer.offset !== offset || answer.bytes.length !== bytes)
      throw unasked(
        `bytes ${offset} to ${offset + bytes} of ${file} were asked for, and it sent ${answer.bytes.length} bytes of ${answer.file} from ${answer.offset}`,
      )
    return answer.bytes
  }

  /** @returns whether a request waits for this message. */
  offer(message: ServerMessage): boolean {
    if (message.type !== 'model-files' && message.type !== 'file-piece') return false
    const first = this.waiting[0]
    if (!first) return false
    this.waiting.shift()
    if (first.type === message.type) first.resolve(message)
    else first.reject(unasked(`${first.type} was to come, and it sent ${message.type}`))
    return true
  }

  cancel(error: Error): void {
    for (const { reject } of this.waiting.splice(0)) reject(error)
  }

  private async ask(request: FileRequest | MessageOf<'model-request'>, type: Answer['type']): Promise<Answer> {
    this.checkCurrent()
    // Listening begins before sending: the answer may come while the request is being acknowledged.
    const answer = new Promise<Answer>((resolve, reject) => this.waiting.push({ type, resolve, reject }))
    answer.catch(() => {})
    await this.link.send(request)
    return answer
  }
}

function unasked(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the server sent other bytes of the model than those that were asked for',
    why,
    fix: "make sure that both ends run the same version of cutlayer, or give this client a copy of the server's model with --model",
  })
}
