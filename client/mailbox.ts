/**
 * @file Lets a client wait for the answer to a request, while other messages may end the wait.
 */
export class Mailbox<Message> {
  private waiting: { accepts: (message: Message) => boolean; resolve: (message: Message) => void; reject: (error: Error) => void } | null =
    null

  /** The next message that `accepts` takes. @throws what `cancel` is called with. */
  next(accepts: (message: Message) => boolean): Promise<Message> {
    if (this.waiting) throw new Error('a client waits for one answer at a time')
    return new Promise((resolve, reject) => (this.waiting = { accepts, resolve, reject }))
  }

  /** @returns whether somebody was waiting for it. */
  offer(message: Message): boolean {
    const { waiting } = this
    if (!waiting?.accepts(message)) return false
    this.waiting = null
    waiting.resolve(message)
    return true
  }

  cancel(error: Error): void {
    const { waiting } = this
    this.waiting = null
    waiting?.reject(error)
  }
}
