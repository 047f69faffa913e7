import { referenceBackend } from './reference.js'
import { describeBackend } from './testing/contract.js'

describeBackend('reference', referenceBackend, { threaded: false })
