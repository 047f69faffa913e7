import { describeBlocks } from '../testing/blocks.js'
import { describeBackend } from '../testing/contract.js'
import { onnxBackend } from './onnx.node.js'

describeBackend('onnx', onnxBackend, { threaded: true })
describeBlocks('onnx', onnxBackend, { inCodes: true })
