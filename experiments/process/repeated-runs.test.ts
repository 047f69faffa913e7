/**
 * @file Several runs in one process, by the library's own exports: they leave nothing behind, and the process ends by itself.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { packageRoot } from '../../shared/version.node.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

/** After each run: listeners on the process, what keeps it alive, and on Linux its open files and threads. Rejections that nobody handles end it with status 1. */
const PROGRAM = `
  import { readdirSync } from 'node:fs'
  import { setImmediate } from 'node:timers/promises'
  import { loadConfig, runExperiment } from 'cutlayer'
  const count = (folder) => process.platform === 'linux' ? readdirSync(folder).length : 0
  const left = []
  for (let run = 0; run < 6; run++) {
    await runExperiment(await loadConfig('tiny.yaml', ['transport.kind=' + process.argv[1], 'federation.num_rounds=1']))
    // Streams and sockets close a turn after they are told to.
    for (let turn = 0; turn < 10; turn++) await setImmediate()
    const listeners = process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
    const resources = process.getActiveResourcesInfo().filter((kind) => !['PipeWrap', 'CloseReq', 'FSReqCallback', 'Immediate'].includes(kind))
    left.push({ listeners, resources, files: count('/proc/self/fd'), threads: count('/proc/self/task') })
  }
  console.log(JSON.stringify(left))
`

const Left = z.array(z.object({ listeners: z.int(), resources: z.array(z.string()), files: z.int(), threads: z.int() }))

test.each(['memory', 'socket'])('runs over %s leave no file, thread, timer or listener behind', async (kind) => {
  await workshop.config('tiny.yaml')
  const program = PROGRAM.replace("'cutlayer'", JSON.stringify(`file://${packageRoot()}/dist/index.js`))
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, kind], {
    cwd: workshop.folder,
    env: workshop.environment,
  })
  const left = Left.parse(JSON.parse(stdout.trimEnd().split('\n').at(-1)!))
  // The first run loads what stays loaded.
  const [settled, ...later] = left.slice(1)
  for (const { listeners, resources } of later) expect({ listeners, resources }).toEqual({ listeners: settled.listeners, resources: [] })
  // One leaked by each of the four later runs would be four more; a single one is a file just being closed by another thread.
  const last = left[left.length - 1]
  expect(last.files - settled.files).toBeLessThanOrEqual(1)
  expect(last.threads - settled.threads).toBeLessThanOrEqual(1)
})
