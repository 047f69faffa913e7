/**
 * @file Whole runs on TensorFlow.js by the built program, over sockets: all of it on one engine, and clients on another than the server's.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { enginesFolder } from '../../shared/backend/tfjs/kinds.node.js'
import { foundKinds } from '../../shared/backend/tfjs/testing/kinds.js'
import { Metadata } from '../../shared/run-records.js'
import { startProgram, type Program } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

const kinds = foundKinds().map(({ kind }) => kind)
/** Of losses, relative: four steps make of engines' rounding no more than this. */
const TOLERANCE = 1e-3

const RunData = z.looseObject({
  run_dir: z.string(),
  rounds: z.array(z.looseObject({ train_loss: z.number().nullable(), eval_loss: z.number() })),
})
type RunData = z.infer<typeof RunData>

let workshop: Workshop
let expected: RunData
beforeAll(async () => {
  workshop = await openWorkshop()
  await workshop.config('tiny.yaml')
  expected = await result(start({}, 'run', 'tiny.yaml'))
})
afterAll(() => workshop.remove())

function start(environment: NodeJS.ProcessEnv, ...args: string[]): Program {
  const env = { ...workshop.environment, CUTLAYER_ENGINES: enginesFolder(process.env), ...environment }
  return startProgram(args, { cwd: workshop.folder, env })
}

async function result(program: Program): Promise<RunData> {
  const { status, stderr, envelope } = await program.ended
  expect(status, stderr).toBe(0)
  return RunData.parse(envelope.data)
}

function expectSameLosses({ rounds }: RunData): void {
  const losses = (run: readonly RunData['rounds'][number][]) => run.flatMap(({ train_loss, eval_loss }) => [train_loss ?? 0, eval_loss])
  const [found, wanted] = [losses(rounds), losses(expected.rounds)]
  expect(found).toHaveLength(wanted.length)
  wanted.forEach((loss, i) => expect(Math.abs(found[i]! - loss)).toBeLessThanOrEqual(TOLERANCE * loss))
}

test.each(kinds)('a run on tfjs (%s) has the losses of one on onnx, and names what computed', async (kind) => {
  const data = await result(start({ CUTLAYER_TFJS: kind }, 'run', 'tiny.yaml', 'model.engine=tfjs'))
  expectSameLosses(data)
  const { versions } = Metadata.parse(JSON.parse(await readFile(join(data.run_dir, 'metadata.json'), 'utf8')))
  expect(Object.keys(versions)).toContain(kind === 'native' ? '@tensorflow/tfjs-node-gpu' : `@tensorflow/tfjs-backend-${kind}`)
})

test('a server on onnx and clients on each kind of tfjs have the losses of one engine', async () => {
  const server = start({}, 'server', 'tiny.yaml', '--port', '0')
  const { url } = await server.line({ event: 'listening' })
  const clients = Array.from({ length: 2 }, (_, index) =>
    start(
      { CUTLAYER_TFJS: kinds[index % kinds.length] },
      ...['client', '--server', String(url), '--id', `client-${index}`, '--part', `${index}/2`],
      ...['--model', 'model', '--engine', 'tfjs', '--threads', '1'],
    ),
  )
  expectSameLosses(await result(server))
  const endings = await Promise.all(clients.map(({ ended }) => ended))
  expect(endings.map(({ status }) => status)).toEqual([0, 0])
})
