/**
 * @file ONNX Runtime's Linux builds keep an identifier of the device and send events to their maker unless they are told not to.
 */
import { mkdir, readdir } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startProgram } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

test('the engine leaves nothing in the home of whoever runs it, and so has nothing to send', async () => {
  const home = workshop.at('home')
  await mkdir(home)
  // Of its own accord it keeps quiet under CI alone.
  const quiet = ['CI', 'GITHUB_ACTIONS', 'ORT_DISABLE_TELEMETRY', 'ORT_RUNNING_UNIT_TESTS', 'XDG_CACHE_HOME']
  const env = Object.fromEntries(Object.entries(workshop.environment).filter(([name]) => !quiet.includes(name)))
  const args = ['eval', '--model', 'model', '--data', 'rows.jsonl', '--engine', 'onnx']
  expect(await startProgram(args, { cwd: workshop.folder, env: { ...env, HOME: home } }).ended).toMatchObject({ status: 0 })
  expect(await readdir(home)).toEqual([])
})
