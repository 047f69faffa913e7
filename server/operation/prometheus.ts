/**
 * @file The metrics of a run, kept by prom-client and told as Prometheus reads them.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ServerLoad } from '../edge-server.js'
import { fullObserver, type RunObserver } from '../observer.js'
import {
  changesByEvent,
  changesByLook,
  changesByRound,
  changesByWork,
  METRICS,
  type Change,
  type Metric,
  type MetricName,
} from './metrics.js'

export class RunMetrics {
  /** Hears what changes them. */
  readonly observer: RunObserver = fullObserver({
    event: (event) => this.apply(changesByEvent(event)),
    round: (line) => this.apply(changesByRound(line)),
    work: (work) => this.apply(changesByWork(work)),
  })
  private readonly registry = new Registry()
  private readonly changers: ReadonlyMap<string, (labels: Change['labels'], value: number) => void>

  constructor() {
    const names = Object.keys(METRICS) as MetricName[]
    this.changers = new Map(names.map((name) => [name, changerOf(name, METRICS[name], this.registry)]))
  }

  /** The media type of `text`. */
  get contentType(): string {
    return this.registry.contentType
  }

  /** @param load null: there is no server to look at yet. */
  text(load: ServerLoad | null): Promise<string> {
    if (load) this.apply(changesByLook(load))
    return this.registry.metrics()
  }

  private apply(changes: readonly Change[]): void {
    for (const { metric, labels, value } of changes) this.changers.get(metric)!(labels, value)
  }
}

function changerOf(
  name: string,
  { type, help, labels, buckets }: Metric,
  registry: Registry,
): (of: Change['labels'], value: number) => void {
  const settings = { name, help, labelNames: [...labels], registers: [registry] }
  switch (type) {
    case 'counter': {
      const counter = new Counter(settings)
      return (of, value) => counter.inc(of, value)
    }
    case 'gauge': {
      const gauge = new Gauge(settings)
      // It begins with 0, which no loss is before it was measured.
      gauge.remove({})
      return (of, value) => gauge.set(of, value)
    }
    case 'histogram': {
      const histogram = new Histogram({ ...settings, ...(buckets ? { buckets: [...buckets] } : {}) })
      return (of, value) => histogram.observe(of, value)
    }
  }
}
