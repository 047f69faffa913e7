import { describe, expect, test } from 'vitest'
import { UserError, type ErrorCode } from '../shared/errors.js'
import type { ClientLink } from '../shared/protocol/link.js'
import { stayInRun, type StayOptions } from './stay.js'

const error = (code: ErrorCode): UserError => new UserError({ code, what: 'it ended', why: code, fix: 'nothing' })
const link = {} as ClientLink

/** What a link comes to: null, the run's end; with `progress`, after the server had work. */
type Fate = ErrorCode | null | { readonly progress: ErrorCode }

/** Time passes only in pauses; chance is in the middle. */
function staying(fates: Fate[], options: Partial<StayOptions> = {}) {
  const told: { pauses: number[]; connects: (number | null)[]; lost: number[] } = { pauses: [], connects: [], lost: [] }
  let now = 0
  const signal = options.signal ?? new AbortController().signal
  const ended = stayInRun({
    async connect(seconds) {
      told.connects.push(seconds)
      return link
    },
    async takePart(_, onProgress) {
      const fate = fates.shift() ?? null
      if (fate === null) return
      if (typeof fate === 'object') onProgress()
      throw error(typeof fate === 'object' ? fate.progress : fate)
    },
    retrySeconds: 100,
    signal,
    onLost: (_, seconds) => void told.lost.push(seconds),
    time: {
      now: () => now,
      random: () => 0.5,
      async pause(ms) {
        told.pauses.push(ms)
        now += ms
      },
    },
    ...options,
  })
  return { ended, told }
}

describe('a client whose link is lost for good', () => {
  test('comes back, and its time begins anew when the server has work for it', async () => {
    const { ended, told } = staying([{ progress: 'CONNECTION_LOST' }, { progress: 'CONNECTION_LOST' }, null])
    await ended
    expect(told.connects).toEqual([null, 99.75, 99.75])
    expect(told.lost).toEqual([100, 100])
    expect(told.pauses).toEqual([250, 250])
  })

  test('waits longer and longer while the server takes it in and loses it again, and gives up when its time is over', async () => {
    const { ended, told } = staying(Array.from({ length: 99 }, () => 'CONNECTION_LOST' as const))
    await expect(ended).rejects.toThrow(error('CONNECTION_LOST'))
    expect(told.pauses.slice(0, 8)).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000])
    expect(told.pauses.reduce((a, b) => a + b, 0)).toBeLessThan(100_000)
    expect(told.connects.at(-1)).toBeGreaterThan(0)
  })

  test('comes back at another moment than others', async () => {
    const pauses: number[] = []
    for (const chance of [0, 1]) {
      const pause = async (ms: number): Promise<void> => void pauses.push(ms)
      await staying(['CONNECTION_LOST', null], { time: { now: () => 0, random: () => chance, pause } }).ended
    }
    expect(pauses).toEqual([125, 375])
  })

  test('ends at once if it is told not to try', async () => {
    const { ended, told } = staying(['CONNECTION_LOST'], { retrySeconds: 0 })
    await expect(ended).rejects.toThrow(error('CONNECTION_LOST'))
    expect(told.connects).toEqual([null])
  })

  test.each(['TOKEN_REFUSED', 'CLIENT_ID_IN_USE', 'RUN_FULL', 'ROUND_FAILED'] as const)('does not come back after %s', async (code) => {
    const { ended, told } = staying([code])
    await expect(ended).rejects.toThrow(error(code))
    expect(told.connects).toEqual([null])
  })

  test('does not come back where it is refused', async () => {
    let connects = 0
    const refuse = async (): Promise<ClientLink> => {
      if (connects++ > 0) throw error('TOKEN_REFUSED')
      return link
    }
    await expect(staying(['CONNECTION_LOST', null], { connect: refuse }).ended).rejects.toThrow(error('TOKEN_REFUSED'))
    expect(connects).toBe(2)
  })

  test('ends quietly if it is stopped while it waits', async () => {
    const stop = new AbortController()
    const pause = async (): Promise<void> => stop.abort()
    const { ended, told } = staying(['CONNECTION_LOST'], { signal: stop.signal, time: { now: () => 0, random: () => 0, pause } })
    await ended
    expect(told.connects).toEqual([null])
  })
})
