import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { commands } from '../../command.js'
import { typeForScript } from '../../testing/type.js'
import { openWorkshop, type Workshop } from '../../testing/workshop.js'
import type { MemoryReport } from './report.js'

let workshop: Workshop
let home: string
beforeAll(async () => {
  workshop = await openWorkshop()
  home = process.cwd()
  process.chdir(workshop.folder)
  vi.stubEnv('TMPDIR', workshop.at())
})
afterAll(async () => {
  process.chdir(home)
  vi.unstubAllEnvs()
  await workshop.remove()
})

describe.runIf(process.platform === 'linux')('bench memory', () => {
  test('measures a server, clients and the whole model as processes, and figures that belong together agree', async () => {
    const size = ['--cut', '2', '--clients', '2', '--batch', '2', '--seq', '16', '--threads', '1']
    const { data } = await typeForScript<MemoryReport>(commands, 'bench', 'memory', '--model', 'model', ...size)
    expect(data).toMatchObject({ topology: 'split', cut: 2, clients: 2, batch: 2, seq: 16, precision: 'fp32', threads: 1 })
    expect(data.processes.map(({ name }) => name)).toEqual(['server', 'client-0', 'client-1', 'whole model'])
    const whole = data.processes.at(-1)!
    for (const line of data.processes) {
      // No Node process takes less.
      expect(line.dirty_mb, line.name).toBeGreaterThan(10)
      expect(line.private_mb, line.name).toBeGreaterThanOrEqual(line.dirty_mb)
      expect(line.resident_mb, line.name).toBeGreaterThanOrEqual(line.private_mb)
      expect(line.of_whole, line.name).toBeCloseTo(line.private_mb / whole.private_mb, 2)
      if (line.planned_mb === null || line.deviation === null) expect(line.name).toBe('whole model')
      else expect(line.deviation, line.name).toBeCloseTo(line.planned_mb / line.dirty_mb - 1, 2)
    }
    const { private_mb, activations_mb, beyond_mb } = data.second_client!
    expect(private_mb).toBe(data.processes[2]!.private_mb)
    // Each is rounded to a tenth.
    expect(Math.abs(beyond_mb - (private_mb - activations_mb))).toBeLessThan(0.16)
    for (const line of data.traffic) expect(Math.abs(line.deviation), line.direction).toBeLessThan(0.02)
  })

  test('measures the run of a config, and passes on what keeps it from running', async () => {
    const path = await workshop.config('measured.yaml', { federation: { num_clients: 1, num_rounds: 1, local_steps: 1 } })
    const { data } = await typeForScript<MemoryReport>(commands, 'bench', 'memory', path, '--threads', '1', 'split.topology=federated')
    expect(data).toMatchObject({ config: path, topology: 'federated', cut: null, second_client: null })
    const broken = await typeForScript(commands, 'bench', 'memory', path, 'split.cut_layer=9')
    expect(broken.error?.code).toBe('CUT_OUT_OF_RANGE')
  })

  test('refuses a config together with a size', async () => {
    const { error } = await typeForScript(commands, 'bench', 'memory', 'measured.yaml', '--batch', '2')
    expect(error).toMatchObject({ code: 'BAD_ARGUMENT', why: 'a config and --batch are both given' })
  })
})
