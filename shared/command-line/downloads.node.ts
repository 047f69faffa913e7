/**
 * @file How a command tells of downloads: a bar on a terminal, lines and JSON events elsewhere.
 */
import type { HubAccess, HubEvent } from '../model/hub/snapshot.node.js'
import type { CommandContext, Progress } from './command.node.js'
import { unreachable } from '../errors.js'
import { byteSize } from './progress.js'

/** Small files come so fast that nobody wants to read of them. */
const TOLD_FROM_BYTES = 2 ** 20

/** What to open models with, so that the person sees what is downloaded, and Ctrl-C ends it. */
export function hubAccess(context: Pick<CommandContext, 'event' | 'progress' | 'signal' | 'warn'>): HubAccess {
  return { signal: context.signal, onEvent: downloadReport(context) }
}

/** Bars of several files may be open at once; each is told when it begins and when it ends. */
export function downloadReport(context: Pick<CommandContext, 'event' | 'progress' | 'warn'>): (event: HubEvent) => void {
  const begun = new Map<string, { readonly bar: Progress; readonly atMs: number; readonly from: number }>()
  return (event) => {
    if (event.type === 'notice') return context.warn(event.text)
    const { type, model, file, done, bytes } = event
    if (bytes < TOLD_FROM_BYTES) return
    const key = `${model}/${file}`
    if (type === 'begin') {
      const resumed = done > 0 ? `, of which ${byteSize(done)} are here already` : ''
      context.event({ event: 'download', model, file, bytes, done }, `downloading ${file} of ${model}: ${byteSize(bytes)}${resumed}`)
      // The bar is of what is left, so that its rate is that of this download.
      begun.set(key, { bar: context.progress(file, bytes - done, 'bytes'), atMs: performance.now(), from: done })
      return
    }
    const { bar, atMs, from } = begun.get(key) ?? unreachable(`${type} of ${file}, which did not begin`)
    bar.update(done - from)
    if (type === 'progress') return
    bar.finish()
    begun.delete(key)
    const seconds = Math.round((performance.now() - atMs) / 100) / 10
    context.event({ event: 'downloaded', model, file, bytes, seconds }, `downloaded ${file} in ${seconds} s`)
  }
}
