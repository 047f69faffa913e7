import { describeBackend } from '../testing/contract.js'
import { onnxBackend } from './onnx.node.js'

describeBackend('onnx', onnxBackend, { threaded: true })
