/**
 * @file A process of its own for tests of the prepared-weights cache. Arguments: what to do, the cache, the model folder.
 *
 * It says `ready` on stdout, and starts once something arrives on stdin.
 */
import { once } from 'node:events'
import { join } from 'node:path'
import { writeAtomically } from '../atomic-file.node.js'
import { openCheckpoint } from '../checkpoint.node.js'
import { digestCheckpoint } from '../digest.node.js'
import { checkpointNumbers, prepareWeights } from '../prepared.node.js'

const [task, cache, folder] = process.argv.slice(2)

console.log('ready')
await once(process.stdin, 'data')
process.stdin.pause()

if (task === 'prepare') {
  const checkpoint = await openCheckpoint(folder)
  const digest = await digestCheckpoint(checkpoint, cache)
  const store = await prepareWeights({
    source: checkpointNumbers(checkpoint, digest),
    names: checkpoint.tensors.keys(),
    model: digest.model,
    precision: 'fp32',
    fileOf: () => 'all.bin',
    blocksOf: () => null,
    cache,
  })
  const sums: Record<string, number> = {}
  for (const name of store.specs.keys()) sums[name] = (await store.read(name)).reduce((sum, value) => sum + value, 0)
  await checkpoint.close()
  console.log(JSON.stringify({ folder: store.folder, sums }))
} else {
  // Dies in the middle of a file: the test kills it after `writing`.
  await writeAtomically(join(folder, 'block-0.bin'), async (handle) => {
    await handle.writeFile('half of a file')
    console.log('writing')
    await once(process.stdin.resume(), 'end')
  })
}
