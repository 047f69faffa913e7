/**
 * @file What the tensors at the cut took, beside what they would take as fp32: sums over lines of the ledger.
 */
import type { TrafficLine } from '../run-records.js'

export interface CutBytes {
  /** With what goes along with the tensors: lengths, mask and targets. */
  readonly payload_bytes: number
  readonly wire_bytes: number
  /** Of the same real tokens. */
  readonly fp32_bytes: number
  /** Payload as a share of that; null where nothing crossed. */
  readonly fp32_ratio: number | null
}

/** Activations go up, gradients down. */
export interface CutTraffic {
  readonly up: CutBytes
  readonly down: CutBytes
}

type Counted = Pick<TrafficLine, 'direction' | 'kind' | 'payload_bytes' | 'wire_bytes' | 'fp32_bytes'>

/** Of training alone: evaluations are packed in a way of their own. */
export function cutTraffic(lines: readonly Counted[]): CutTraffic {
  const ofKind = (kind: Counted['kind']): CutBytes => cutBytes(lines.filter((line) => line.kind === kind))
  return { up: ofKind('activations'), down: ofKind('gradients') }
}

export function cutBytes(lines: readonly Omit<Counted, 'direction' | 'kind'>[]): CutBytes {
  const sum = (key: 'payload_bytes' | 'wire_bytes' | 'fp32_bytes'): number => lines.reduce((total, line) => total + line[key], 0)
  const bytes = { payload_bytes: sum('payload_bytes'), wire_bytes: sum('wire_bytes'), fp32_bytes: sum('fp32_bytes') }
  return { ...bytes, fp32_ratio: fp32Ratio(bytes) }
}

export function fp32Ratio({ payload_bytes, fp32_bytes }: Pick<Counted, 'payload_bytes' | 'fp32_bytes'>): number | null {
  return fp32_bytes > 0 ? payload_bytes / fp32_bytes : null
}

/** `1/5.2`; `-` where there is none. */
export function ratioText(ratio: number | null): string {
  return ratio === null || ratio === 0 ? '-' : `1/${(1 / ratio).toFixed(1)}`
}
