import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { typeCommand, typeForScript } from '../../testing/type.js'
import { openWorkshop, type Workshop } from '../../testing/workshop.js'
import { benchWireCommand } from './command.js'
import type { WireReport } from './report.js'

const commands = [benchWireCommand]
let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  vi.stubEnv('TMPDIR', workshop.at())
  vi.stubEnv('CUTLAYER_CACHE', workshop.at('cache'))
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await workshop.remove()
})

async function measure(...args: string[]): Promise<WireReport> {
  return (await typeForScript<WireReport>(commands, 'bench', 'wire', '--step-ms', '100', ...args)).data
}

describe('bench wire', () => {
  test('measures codecs on random numbers: bytes, error and share of a step belong together', async () => {
    const size = ['--shape', 'small', '--batch', '2', '--seq', '16', '--rank', '1']
    const report = await measure(...size, '--codecs', 'fp32,int8,delta+int8,reuse+int8/fp16,lowrank+int8')
    expect(report).toMatchObject({ shape: 'small', batch: 2, tokens: 32, width: 256, rank: 1, step_ms: 100 })
    const [plain, int8, delta, reuse, lowrank] = report.codecs
    expect(plain).toMatchObject({ ratio: 1, up: { relative_error: 0, later_bytes: 32 * 256 * 4 }, down: { relative_error: 0 } })
    expect(int8).toMatchObject({ up: { later_bytes: 32 * (256 + 2), first_ratio: 3.97 }, ratio: 3.97 })
    // The change has smaller steps.
    expect(delta.up.relative_error).toBeLessThan(int8.up.relative_error / 2)
    expect(reuse).toMatchObject({ activation_codec: 'reuse+int8', gradient_codec: 'fp16', up: { later_bytes: 0 } })
    // Of two rows: 2 and 4 directions of 16 tokens and 256 channels, each with its scale.
    expect(lowrank.up.later_bytes).toBe(2 * 2 * (16 + 2 + 256 + 2))
    expect(lowrank.down.later_bytes).toBe(2 * 4 * (16 + 2 + 256 + 2))
    for (const { up, down, total_ms, share_of_step } of report.codecs) {
      expect(share_of_step).toBeCloseTo(total_ms / 100, 3)
      for (const { overhead_bytes, pack_ms, unpack_ms } of [up, down]) {
        expect(overhead_bytes).toBeLessThan(100)
        expect(Math.min(pack_ms, unpack_ms)).toBeGreaterThanOrEqual(0)
      }
    }
  })

  test('measures a model that learns a file of rows, and tells what leaving out their padding saves', async () => {
    const given = [
      '--model',
      workshop.at('model'),
      '--data',
      workshop.at('rows.jsonl'),
      '--padded-to',
      '64',
      '--cut',
      '1',
      '--threads',
      '1',
    ]
    const report = await measure(...given, '--codecs', 'fp32,int8', '--batch', '2', '--seq', '8')
    const { rows, mean_tokens, padded_to, factor } = report.padding!
    expect(rows).toBeGreaterThan(1)
    expect(padded_to).toBe(64)
    expect(factor).toBeCloseTo(64 / mean_tokens, 1)
    expect(report.batch).toBe(2)
    for (const { ratio, ratio_with_padding } of report.codecs) expect(ratio_with_padding).toBeCloseTo(ratio * factor, 0)
    expect(report.codecs[1].up.relative_error).toBeGreaterThan(0)
    expect(report.codecs[1].up.relative_error).toBeLessThan(0.02)
  })

  test('measures the step if it is not told one', async () => {
    const size = ['--model', workshop.at('model'), '--batch', '1', '--seq', '4', '--threads', '1']
    const { data } = await typeForScript<WireReport>(commands, 'bench', 'wire', ...size, '--codecs', 'int8')
    expect(data.step_measured).toBe(true)
    expect(data.step_ms).toBeGreaterThan(0)
  })

  test.each([
    ['there is no codec called "int9"', ['--codecs', 'int8,int9']],
    ['reuse is for activations', ['--codecs', 'reuse+int8']],
    ['more than two codecs', ['--codecs', 'int8/int8/int8']],
    ['there is no --model', ['--data', 'rows.jsonl']],
    ['both given', ['--shape', 'gpt2', '--model', 'model']],
  ])('refuses what cannot be measured: %s', async (why, args) => {
    const { status, stderr } = await typeCommand(commands, 'bench', 'wire', ...args)
    expect(status).toBe(5)
    expect(stderr).toContain(why)
  })
})
