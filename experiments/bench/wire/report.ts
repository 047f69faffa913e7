/**
 * @file What was measured of codecs: figures for scripts, and a table for people. Pure.
 */
import { table, type Column } from '../../inspect/table.js'
import { rounded } from '../figures.js'
import type { CodecPair, DirectionCost, PairCost } from './measure.js'
import type { Padding } from './padding.js'

const F32_BYTES = 4

export interface WireLine {
  readonly activation_codec: string
  readonly gradient_codec: string
  readonly up: DirectionFigures
  readonly down: DirectionFigures
  readonly total_ms: number
  /** total_ms / step_ms. */
  readonly share_of_step: number
  /** fp32's bytes in its own, both directions of a later visit together; and times the factor of padding that is left out. */
  readonly ratio: number
  readonly ratio_with_padding?: number
}

interface DirectionFigures {
  readonly pack_ms: number
  readonly unpack_ms: number
  readonly first_ratio: number
  readonly later_bytes: number
  readonly later_ratio: number
  readonly relative_error: number
  readonly overhead_bytes: number
}

/** @param numbers of the batch in each direction */
export function lineOf(
  pair: CodecPair,
  { up, down, totalMs }: PairCost,
  numbers: number,
  stepMs: number,
  padding: Padding | null,
): WireLine {
  const plainBytes = F32_BYTES * numbers
  const ratio = (2 * plainBytes) / Math.max(1, up.laterBytes + down.laterBytes)
  return {
    ...{ activation_codec: pair.activations, gradient_codec: pair.gradients },
    ...{ up: figures(up, plainBytes), down: figures(down, plainBytes) },
    total_ms: rounded(totalMs, 2),
    share_of_step: rounded(totalMs / stepMs, 5),
    ratio: rounded(ratio, 2),
    ...(padding && { ratio_with_padding: rounded(ratio * padding.factor, 1) }),
  }
}

export function paddingFigures({ rows, meanTokens, paddedTo, factor }: Padding): NonNullable<WireReport['padding']> {
  return { rows, mean_tokens: rounded(meanTokens, 2), padded_to: paddedTo, factor: rounded(factor, 2) }
}

function figures(
  { firstBytes, laterBytes, packMs, unpackMs, relativeError, overheadBytes }: DirectionCost,
  plainBytes: number,
): DirectionFigures {
  return {
    pack_ms: rounded(packMs, 2),
    unpack_ms: rounded(unpackMs, 2),
    first_ratio: ratioOf(plainBytes, firstBytes),
    later_bytes: laterBytes,
    later_ratio: ratioOf(plainBytes, laterBytes),
    relative_error: Number(relativeError.toPrecision(3)),
    overhead_bytes: overheadBytes,
  }
}

/** Of nothing sent, as of one byte. */
function ratioOf(plainBytes: number, bytes: number): number {
  return rounded(plainBytes / Math.max(1, bytes), 2)
}

export interface WireReport {
  readonly shape?: string
  readonly model?: string
  readonly numbers: string
  readonly batch: number
  readonly tokens: number
  readonly width: number
  readonly rank: number
  readonly step_ms: number
  readonly step_measured: boolean
  readonly padding?: { rows: number; mean_tokens: number; padded_to: number; factor: number } | null
  readonly codecs: readonly WireLine[]
}

export function textOf(report: WireReport, paintTitle: (title: string) => string): string {
  const { shape, model, numbers, batch, tokens, width, step_ms, padding, codecs } = report
  const figure = (title: string, cell: (line: WireLine) => string): Column<WireLine> => ({ title, cell, align: 'right' })
  const both = (read: (direction: DirectionFigures) => number | string) => (line: WireLine) => `${read(line.up)} / ${read(line.down)}`
  const columns: Column<WireLine>[] = [
    {
      title: 'codec',
      cell: ({ activation_codec: up, gradient_codec: down }) => (up === down ? up : `${up} / ${down}`),
    },
    figure(
      'pack, ms',
      both(({ pack_ms }) => pack_ms.toFixed(1)),
    ),
    figure(
      'unpack, ms',
      both(({ unpack_ms }) => unpack_ms.toFixed(1)),
    ),
    figure('together', ({ total_ms }) => total_ms.toFixed(1)),
    figure('of a step', ({ share_of_step }) => `${(100 * share_of_step).toFixed(2)}%`),
    figure(
      'times smaller',
      both(({ later_ratio }) => later_ratio.toFixed(1)),
    ),
    figure(
      'first visit',
      both(({ first_ratio }) => first_ratio.toFixed(1)),
    ),
    ...(padding ? [figure('with padding', ({ ratio_with_padding }) => ratio_with_padding!.toFixed(1))] : []),
    figure(
      'error',
      both(({ relative_error }) => relative_error.toPrecision(2)),
    ),
    figure(
      'overhead',
      both(({ overhead_bytes }) => overhead_bytes),
    ),
  ]
  return [
    `${model ?? shape}: ${batch} rows, ${tokens} tokens, width ${width}, numbers ${numbers}; a step takes ${step_ms} ms`,
    ...(padding
      ? [
          `${padding.rows} rows have ${padding.mean_tokens} tokens on average: padded to ${padding.padded_to}, ${padding.factor} times as many`,
        ]
      : []),
    'activations / gradients of a batch that comes back',
    '',
    table(columns, codecs, paintTitle),
  ].join('\n')
}
