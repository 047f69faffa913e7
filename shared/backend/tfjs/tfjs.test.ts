import { describeBlocks } from '../testing/blocks.js'
import { describeBackend } from '../testing/contract.js'
import { findTfjs } from './kinds.node.js'
import { tfjsBackend } from './tfjs.node.js'
import { foundKinds } from './testing/kinds.js'

const plain = findTfjs({ ...process.env, CUTLAYER_TFJS: 'cpu' })

for (const found of [...foundKinds(), plain]) {
  const create = (options: { readonly threads: number; readonly lanes: number }) => tfjsBackend({ ...options, found, countsTensors: true })
  describeBackend(`tfjs (${found.kind})`, create, { threaded: found.kind === 'native' })
  describeBlocks(`tfjs (${found.kind})`, create, { inCodes: false })
}
