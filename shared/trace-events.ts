/**
 * @file Spans as events of Chrome's trace format, a line of JSON each, as Perfetto and chrome://tracing read them.
 *
 * Source: "Trace Event Format" (Google): complete events ("X"), instants ("i"), and metadata ("M") that names processes and threads. Events of
 * one thread have to nest, so a track gets another thread for each span that overlaps one of its own.
 */
import { BusyMeter, type BusyTally } from './busy-share.js'
import { epochMicros, type EndSpan, type RunTimes, type Trace, type TraceFacts } from './trace.js'

/** Threads of one track; a thread is taken as long as a span is open on it. */
interface Track {
  readonly threads: number[]
  readonly isTaken: boolean[]
}

/** Keeps nothing but the names of tracks: each event is handed on as it ends. */
export class TraceEvents implements Trace {
  readonly isOn = true
  private readonly meter = new BusyMeter()
  private readonly tracks = new Map<string, Track>()
  private lastThread = 0

  /**
   * @param emit gets each event as JSON.
   * @param processId the system's: tells the processes of one trace apart.
   */
  constructor(
    private readonly emit: (json: string) => void,
    private readonly processId: number,
    processName: string,
  ) {
    this.write({ ph: 'M', name: 'process_name', pid: processId, args: { name: processName } })
  }

  get tally(): BusyTally {
    return this.meter.tally
  }

  begin(track: string, name: string, facts?: TraceFacts): EndSpan {
    const startMicros = epochMicros()
    const [taken, slot] = this.take(track)
    return (more) => {
      taken.isTaken[slot] = false
      this.complete(taken.threads[slot]!, name, startMicros, epochMicros(), { ...facts, ...more })
    }
  }

  beginStep(track: string, name: string, facts?: TraceFacts): EndSpan {
    this.meter.stepBegan(epochMicros())
    const end = this.begin(track, name, facts)
    return (more) => {
      this.meter.stepEnded(epochMicros())
      end(more)
    }
  }

  mark(track: string, name: string, facts?: TraceFacts): void {
    const thread = this.track(track).threads[0] ?? this.addThread(track)
    this.write({ ph: 'i', s: 't', name, pid: this.processId, tid: thread, ts: Math.round(epochMicros()), ...argsOf(facts) })
  }

  ran(lane: number, name: string, { startMicros, endMicros, processorMicros }: RunTimes, facts?: TraceFacts): void {
    this.meter.ran(processorMicros)
    const track = `engine, lane ${lane}`
    // A lane runs one program after the other.
    const thread = this.track(track).threads[0] ?? this.addThread(track)
    const processor = processorMicros === null ? {} : { processor_ms: Math.round(processorMicros) / 1000 }
    this.complete(thread, name, startMicros, endMicros, { ...facts, ...processor })
  }

  private take(name: string): [Track, number] {
    const track = this.track(name)
    const free = track.isTaken.indexOf(false)
    const slot = free < 0 ? track.threads.length : free
    if (track.threads.length === slot) this.addThread(name)
    track.isTaken[slot] = true
    return [track, slot]
  }

  private track(name: string): Track {
    const known = this.tracks.get(name)
    if (known) return known
    const track = { threads: [], isTaken: [] }
    this.tracks.set(name, track)
    return track
  }

  private addThread(trackName: string): number {
    const { threads, isTaken } = this.track(trackName)
    const thread = ++this.lastThread
    threads.push(thread)
    isTaken.push(false)
    const name = threads.length === 1 ? trackName : `${trackName} (${threads.length})`
    this.write({ ph: 'M', name: 'thread_name', pid: this.processId, tid: thread, args: { name } })
    return thread
  }

  private complete(tid: number, name: string, startMicros: number, endMicros: number, facts: TraceFacts): void {
    const ts = Math.round(startMicros)
    // Rounded as the next span's start is, so that neighbours do not overlap.
    this.write({ ph: 'X', name, pid: this.processId, tid, ts, dur: Math.round(endMicros) - ts, ...argsOf(facts) })
  }

  private write(event: object): void {
    this.emit(JSON.stringify(event))
  }
}

function argsOf(facts: TraceFacts = {}): { args?: TraceFacts } {
  return Object.keys(facts).length === 0 ? {} : { args: facts }
}
