import { referenceBackend } from './reference.js'
import { describeBlocks } from './testing/blocks.js'
import { describeBackend } from './testing/contract.js'

describeBackend('reference', referenceBackend, { threaded: false })
describeBlocks('reference', referenceBackend, { inCodes: false })
