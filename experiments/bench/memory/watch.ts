/**
 * @file Watches processes while they run, and keeps the most memory that each had.
 */
import { readMappedBytes, readMemory, type ProcessMemory } from './proc.js'

/** Short enough for one matrix product of a training step to be seen. */
const SAMPLE_MS = 20
/** The kernel walks all pages of a process for a sample, and keeps it waiting meanwhile: longer pauses where that takes long. */
const PAUSE_PER_SAMPLE = 5
/** Looking at each mapping takes longer, and what is mapped stays mapped. */
const SAMPLES_PER_LOOK = 25

/** The most there was of each, not all at the same time; bytes. */
export interface PeakMemory extends ProcessMemory {
  /** Of the weight files that it has mapped. */
  readonly mappedBytes: number
  /** How often it was looked at. */
  readonly samples: number
}

export class MemoryWatch {
  private readonly peaks = new Map<number, PeakMemory>()
  private timer: NodeJS.Timeout

  /** @param weightFolder whose files count as mapped weights */
  constructor(private readonly weightFolder: string) {
    this.timer = this.after(SAMPLE_MS)
  }

  /** From now on until it ends. */
  add(pid: number): void {
    this.peaks.set(pid, { privateBytes: 0, dirtyBytes: 0, residentBytes: 0, peakResidentBytes: 0, mappedBytes: 0, samples: 0 })
    this.look(pid)
  }

  peakOf(pid: number): PeakMemory | undefined {
    return this.peaks.get(pid)
  }

  stop(): void {
    clearTimeout(this.timer)
  }

  private after(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      const start = performance.now()
      for (const pid of this.peaks.keys()) this.look(pid)
      this.timer = this.after(Math.max(SAMPLE_MS, PAUSE_PER_SAMPLE * (performance.now() - start)))
    }, ms)
  }

  private look(pid: number): void {
    const before = this.peaks.get(pid)!
    const now = readMemory(pid)
    if (!now) return
    const isTime = before.samples % SAMPLES_PER_LOOK === 0
    const mapped = isTime ? (readMappedBytes(pid, this.weightFolder) ?? 0) : 0
    this.peaks.set(pid, {
      privateBytes: Math.max(before.privateBytes, now.privateBytes),
      dirtyBytes: Math.max(before.dirtyBytes, now.dirtyBytes),
      residentBytes: Math.max(before.residentBytes, now.residentBytes),
      peakResidentBytes: Math.max(before.peakResidentBytes, now.peakResidentBytes),
      mappedBytes: Math.max(before.mappedBytes, mapped),
      samples: before.samples + 1,
    })
  }
}
