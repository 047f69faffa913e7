/**
 * @file Runs whose processes are killed at any moment and which then go on, end with the numbers of a run that nothing happened to, bit for bit.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { derive } from '../../shared/random.js'
import { numbersOf, runWithKills, type Moment } from '../testing/killed-run.js'
import { startProgram } from '../testing/program.js'
import type { Groups } from '../testing/small-run.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

const options = () => ({ cwd: workshop.folder, env: workshop.environment })

/** Four rounds of three steps. */
const SMALL: Groups = {
  model: { engine: 'reference', threads: 1 },
  federation: { num_rounds: 4, local_steps: 3, on_client_loss: 'restart_round', reconnect_s: 20 },
  transport: { kind: 'memory' },
}

let configs = 0
async function config(changes: Groups): Promise<string> {
  const groups = [...new Set([...Object.keys(SMALL), ...Object.keys(changes)])]
  const merged = Object.fromEntries(groups.map((group) => [group, { ...SMALL[group], ...changes[group] }]))
  return workshop.config(`case-${configs++}.yaml`, merged)
}

const CASES: readonly (readonly [string, Groups])[] = [
  ['a joint top, moments averaged', { train: { lr_scheduler_type: 'cosine', warmup_ratio: 0.2 } }],
  ['moments that clients keep, few of whom train', { federation: { optimizer_state: 'keep', fraction_train: 0.5 } }],
]

/** Where a run is killed, one time after the other. */
function moments(seed: number, count: number): Moment[] {
  return Array.from({ length: count }, (_, index) => {
    const random = derive(seed, 'kill', index)
    const kind = random.below(3)
    if (kind === 0) return { afterMs: random.below(400) }
    return kind === 1 ? { file: 'metrics/steps.jsonl', lines: 1 + random.below(40) } : { file: 'events.jsonl', lines: 1 + random.below(20) }
  })
}

describe('over memory', () => {
  test.concurrent.each(CASES)('%s', async (_, changes) => {
    const name = await config(changes)
    const whole = startProgram(['run', name], options())
    const { run_dir: wholeFolder } = (await whole.line({ event: 'start' })) as { run_dir: string }
    const killed = await runWithKills(options(), ['run', name], (folder) => ['run', '--resume', folder], moments(1, 4))
    expect(killed.ending).toMatchObject({ status: 0, envelope: { status: 'ok' } })
    await whole.ended
    expect(await numbersOf(killed.folder)).toEqual(await numbersOf(wholeFolder))
  })
})
