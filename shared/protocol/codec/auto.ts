/**
 * @file `auto`: which codec a client's link asks for. Pure: the same measurement gives the same choice.
 *
 * Taken is the least coarse codec within the loss budget with which a direction's transfers take at most a quarter of the time that a step takes
 * without them; where there is none, the coarsest within the budget. What a message takes however short it is (the way there and back) is no codec's
 * business and left out.
 */
import { AUTO_LADDER, type Rung } from './ladder.js'
import type { Direction } from './setting.js'

/** A direction's transfers may take this share of a step. */
export const MOST_SHARE = 1 / 4

/** What the messages of one direction told of the link. */
export interface Transfers {
  readonly messages: number
  /** Payload. */
  readonly bytes: number
  /** From each message's first byte until its sender knew that it had arrived, summed. */
  readonly seconds: number
}

/** A client's round, as both ends measured it. */
export interface RoundMeasurement {
  readonly round: number
  /** Local steps that it made, at least 1. */
  readonly steps: number
  readonly upload: Transfers
  readonly download: Transfers
  /** The shortest time in which a message without a tensor was known to have arrived. */
  readonly roundTripSeconds: number
  /** Of the client's own work, and of its waiting for the server, downloads included. */
  readonly computeSeconds: number
  readonly waitSeconds: number
  /** What its activations, and its gradients, are as fp32. */
  readonly fp32Bytes: { readonly activations: number; readonly gradients: number }
}

/** What a choice was made of. */
export interface LinkReading {
  readonly round: number
  /** While transferring; null: too fast to be told from the way there and back. */
  readonly bytesPerSecond: number | null
  /** Of a step without this client's transfers. */
  readonly stepSeconds: number
  /** A step's tensors as fp32. */
  readonly fp32BytesPerStep: number
}

export interface AutoChoice {
  readonly codec: string
  readonly reason: string
  /** null: nothing was measured. */
  readonly reading: LinkReading | null
  /** What a step's transfers are expected to take with it; null: next to nothing, or nothing was measured. */
  readonly transferSeconds: number | null
}

export function readingOf(measured: RoundMeasurement, direction: Direction): LinkReading {
  const { round, steps, upload, download, computeSeconds, waitSeconds, roundTripSeconds, fp32Bytes } = measured
  const transfers = direction === 'activations' ? upload : download
  const seconds = transferSeconds(transfers, roundTripSeconds)
  return {
    round,
    bytesPerSecond: seconds > 0 ? transfers.bytes / seconds : null,
    stepSeconds: (computeSeconds + Math.max(0, waitSeconds - transferSeconds(download, roundTripSeconds))) / steps,
    fp32BytesPerStep: fp32Bytes[direction] / steps,
  }
}

function transferSeconds({ messages, seconds }: Transfers, roundTripSeconds: number): number {
  return Math.max(0, seconds - messages * roundTripSeconds)
}

export function firstChoice(direction: Direction): AutoChoice {
  return { codec: AUTO_LADDER[0][direction].codec, reason: 'nothing is measured yet: the safest', reading: null, transferSeconds: null }
}

/** For a client that did not come to the end of its last round, and so told nothing of its link. */
export function choiceOfLate(direction: Direction, budget: number, round: number): AutoChoice {
  const { codec } = within(budget).at(-1)![direction]
  return { codec, reason: `it did not finish round ${round}: the coarsest within the budget`, reading: null, transferSeconds: null }
}

/** @param budget relative increase of the loss that is allowed; the safest codec always is */
export function choose(direction: Direction, budget: number, reading: LinkReading): AutoChoice {
  const { bytesPerSecond, stepSeconds, fp32BytesPerStep } = reading
  const allowed = within(budget)
  if (bytesPerSecond === null)
    return {
      codec: allowed[0][direction].codec,
      reason: 'transfers take next to nothing: the safest',
      reading,
      transferSeconds: null,
    }
  const secondsOf = (rung: Rung): number => (fp32BytesPerStep * rung[direction].share) / bytesPerSecond
  const fitting = allowed.find((rung) => secondsOf(rung) <= MOST_SHARE * stepSeconds)
  const rung = fitting ?? allowed.at(-1)!
  return {
    codec: rung[direction].codec,
    reason: fitting
      ? fitting === allowed[0]
        ? 'transfers do not dominate: the safest'
        : 'the least coarse with which transfers do not dominate'
      : 'transfers dominate with each: the coarsest within the budget',
    reading,
    transferSeconds: secondsOf(rung),
  }
}

/** The rungs whose loss is within the budget; the safest is, whatever the budget. */
function within(budget: number): readonly Rung[] {
  return AUTO_LADDER.filter(({ lossIncrease }, index) => index === 0 || lossIncrease <= budget)
}
