/**
 * @file Leaves a run early: when the step under way is made, or at once if none is, or if there is no time for it.
 */
import type { ClientLink } from '../shared/protocol/link.js'
import type { TrainerEvent } from './trainer.js'

/** Closes a client's link once it has been asked to; the server then knows at once, and why. */
export class Leaver {
  private isInStep = false
  private left = false

  constructor(
    private readonly link: ClientLink,
    private readonly signal: AbortSignal,
    /** Comes later than `signal`, if it comes: the step is then given up. */
    urgent?: AbortSignal,
  ) {
    signal.addEventListener('abort', () => this.leaveBetweenSteps(), { once: true })
    urgent?.addEventListener('abort', () => this.leave(), { once: true })
    this.leaveBetweenSteps()
  }

  get hasLeft(): boolean {
    return this.left
  }

  /** Hears what the trainer does. */
  hear(event: TrainerEvent): void {
    switch (event.kind) {
      case 'round':
        this.isInStep = event.steps > 0
        break
      case 'step':
        this.isInStep = this.signal.aborted ? false : event.step + 1 < event.steps
        break
      case 'dropped':
      case 'round-end':
        this.isInStep = false
        break
      case 'welcome':
      case 'fetch':
      case 'ready':
      case 'evaluate':
      case 'finish':
        return
    }
    this.leaveBetweenSteps()
  }

  private leaveBetweenSteps(): void {
    if (!this.isInStep && this.signal.aborted) this.leave()
  }

  private leave(): void {
    if (this.left) return
    this.left = true
    // A turn later: the trainer reports the step that it has just told of.
    setTimeout(() => void this.link.close('the client was stopped by whoever runs it'), 0)
  }
}
