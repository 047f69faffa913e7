/**
 * @file Measures a model folder on the held-out speeches: `node dist/experiments/pretrain/measure.js [FOLDER]`.
 *
 * Prints JSON lines: for each speech {"text", "ids"}; for each window {"ids", "nll"}, nll in nats summed over all its tokens but the first; at
 * last one with the means.
 * check_transformers.py compares them with what PyTorch computes.
 */
import { onnxBackend } from '../../shared/backend/onnx/onnx.node.js'
import { openCheckpoint } from '../../shared/model/checkpoint.node.js'
import { gpt2 } from '../../shared/model/families/gpt2.js'
import { loadTokenizer } from '../../shared/model/tokenizer.node.js'
import { f32, type F32Tensor } from '../../shared/tensor.js'
import { addSums, lossReport, type LossSums } from '../../shared/train/metrics.js'
import { dividedCorpus } from './corpus.js'
import { heldOutWindows } from './data.js'
import { openEvaluation } from './evaluation.js'
import { badUsage, printLine, runProgram } from './program.js'

await runProgram(async (args) => {
  if (args.length > 1) throw badUsage(`${args.length} folders were given`, 'measure.js [FOLDER]')
  const folder = args[0] ?? 'datasets/model'
  const checkpoint = await openCheckpoint(folder)
  const config = gpt2.parse(checkpoint.config)
  const weights = new Map<string, F32Tensor>()
  for (const [name, shape] of gpt2.tensors(config)) weights.set(name, f32(shape, await checkpoint.readF32(name)))
  await checkpoint.close()

  const corpus = await dividedCorpus()
  const tokenizer = await loadTokenizer(folder)
  for (const { text } of corpus.heldOut) printLine({ text, ids: [...tokenizer.encode(text, { specialTokens: true })] })
  const backend = onnxBackend({ threads: 1, lanes: 1 })
  const evaluation = await openEvaluation(backend, { family: gpt2, config })
  const sums: LossSums[] = []
  for (const row of heldOutWindows(corpus, tokenizer, config.n_positions)) {
    const sum = await evaluation.evaluate([row], weights, 1)
    sums.push(sum)
    printLine({ ids: [...row.ids], nll: sum.nll })
  }
  printLine(lossReport(addSums(sums)))
  await backend.dispose()
})
