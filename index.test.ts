import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeGoldenModel } from './experiments/testing/golden-model.js'
import {
  dataFromRows,
  helloOf,
  joinRun,
  loadClientRows,
  memoryLinkPair,
  memoryMoments,
  openBackend,
  openModel,
  parseConfig,
  silentObserver,
  startServer,
  UserError,
} from './index.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-library-'))
  process.env.CUTLAYER_CACHE = join(folder, 'cache')
  await writeGoldenModel(join(folder, 'model'), 'gpt2', { eos: true })
  await writeFile(join(folder, 'rows.jsonl'), '{"text": "the cat sat on the mat"}\n'.repeat(16))
})
afterAll(() => rm(folder, { recursive: true }))

test('a program can run a server and its clients from the exports alone, and the loss falls', async () => {
  const config = parseConfig({
    split: { cut_layer: 1 },
    data: { path: join(folder, 'rows.jsonl'), max_length: 16 },
    train: { learning_rate: 0.05, per_device_train_batch_size: 2 },
    federation: { num_rounds: 2, num_clients: 2, local_steps: 2 },
  })
  const model = await openModel(join(folder, 'model'))
  const weights = await model.weights(model.definition.family.tensors(model.definition.config).keys())
  const backend = openBackend('reference', { threads: 1, lanes: 1 })
  const losses: (number | null)[] = []
  const observer = { ...silentObserver, round: ({ eval_loss }: { eval_loss: number | null }) => void losses.push(eval_loss) }
  const { server, dispose } = await startServer({ config, run: 'example', model, weights, backend, observer, token: null })
  const before = server.adapter()

  const clients = [0, 1].map((index) => {
    const client = `client-${index}`
    const hello = helloOf({ client, token: null, part: null, ownData: false, engine: backend.name, software: 'example' })
    const link = memoryLinkPair({ hello })
    server.attach(link.server)
    return joinRun({
      client,
      link: link.client,
      backend,
      lane: index,
      moments: memoryMoments(),
      openModel: async () => model,
      async openData({ config: given, part }, { tokenizer }) {
        const { rows } = await loadClientRows({ data: given.data, seed: given.train.seed, tokenizer: await tokenizer(), part })
        return dataFromRows(rows, client, given)
      },
    })
  })
  await Promise.all([server.finished, ...clients])
  await dispose()
  await backend.dispose()

  expect(losses).toHaveLength(3)
  expect(losses.at(-1)!).toBeLessThan(losses[0]!)
  expect([...server.adapter().keys()]).toEqual([...before.keys()])
  expect(server.adapter()).not.toEqual(before)
})

test('what a person can put right comes as a UserError with a code', async () => {
  const error = await openModel(join(folder, 'nowhere')).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(UserError)
  expect(error).toMatchObject({ code: 'MODEL_NOT_FOUND', exitCode: 401 })
})
