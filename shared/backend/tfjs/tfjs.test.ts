import { describeBlocks } from '../testing/blocks.js'
import { describeBackend } from '../testing/contract.js'
import { tfjsBackend } from './tfjs.node.js'
import { foundKinds } from './testing/kinds.js'

for (const found of foundKinds()) {
  const create = (options: { readonly threads: number; readonly lanes: number }) => tfjsBackend({ ...options, found, countsTensors: true })
  describeBackend(`tfjs (${found.kind})`, create, { threaded: found.kind === 'native' })
  describeBlocks(`tfjs (${found.kind})`, create, { inCodes: false })
}
