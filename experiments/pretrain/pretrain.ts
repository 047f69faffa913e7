/**
 * @file Pre-trains the shipped model: `node dist/experiments/pretrain/pretrain.js RECIPE.yaml [--out FOLDER] [--minutes N] [--tokenizer FOLDER]`.
 *
 * One JSON line on stdout for each evaluation. The folder always holds the best weights so far.
 */
import { parseArgs } from 'node:util'
import { onnxBackend } from '../../shared/backend/onnx/onnx.node.js'
import { UserError } from '../../shared/errors.js'
import { gpt2 } from '../../shared/model/families/gpt2.js'
import { loadTokenizer } from '../../shared/model/tokenizer.node.js'
import { modelCard } from './card.js'
import { loadPretrainConfig } from './config.js'
import { dividedCorpus } from './corpus.js'
import { trainingData } from './data.js'
import { openEvaluation } from './evaluation.js'
import { initialWeights } from './initial.js'
import { writeModelFolder } from './model-folder.js'
import { badUsage, printLine, runProgram } from './program.js'
import { pretrain } from './run.js'
import { openTrainer } from './trainer.js'

const USAGE = 'pretrain.js RECIPE.yaml [--out FOLDER] [--minutes N] [--tokenizer FOLDER]'

interface Options {
  readonly recipe: string
  readonly out: string
  readonly minutes: number | null
  readonly tokenizer: string
}

function readOptions(args: readonly string[]): Options {
  const option = { type: 'string' } as const
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { out: { ...option, default: 'datasets/model' }, tokenizer: { ...option, default: 'datasets/model' }, minutes: option },
    })
    const [recipe, ...rest] = positionals
    if (recipe === undefined || rest.length > 0) throw badUsage(`${positionals.length} recipes were given`, USAGE)
    const minutes = values.minutes === undefined ? null : Number(values.minutes)
    if (minutes !== null && !(minutes > 0)) throw badUsage(`--minutes ${values.minutes} is no time`, USAGE)
    return { recipe, out: values.out, tokenizer: values.tokenizer, minutes }
  } catch (cause) {
    throw cause instanceof UserError ? cause : badUsage(cause instanceof Error ? cause.message : String(cause), USAGE)
  }
}

async function main({ recipe, out, minutes, tokenizer: tokenizerFolder }: Options): Promise<void> {
  const config = await loadPretrainConfig(recipe)
  const model = gpt2.parse(config.model)
  const tokenizer = await loadTokenizer(tokenizerFolder)
  const corpus = await dividedCorpus()
  const data = trainingData(corpus, tokenizer, config.train.window_tokens)
  const weights = initialWeights(model, config.model.initializer_range, config.seed)
  const backend = onnxBackend({ threads: config.engine.threads, lanes: 1 })
  const write = (folderWeights: typeof weights, card: string): Promise<void> =>
    writeModelFolder(out, config.model, folderWeights, tokenizerFolder, card)
  try {
    const definition = { family: gpt2, config: model }
    const trainer = await openTrainer(backend, definition, weights, config.train)
    const evaluation = await openEvaluation(backend, definition)
    const outcome = await pretrain({ trainer, evaluation }, weights, data, config, {
      minutes,
      now: () => performance.now() / 1000,
      async onMilestone(milestone, best) {
        printLine(milestone)
        if (milestone.isBest) await write(new Map(best), `# An unfinished model, after ${milestone.step} steps\n`)
      },
    })
    const card = modelCard({
      config,
      model,
      parameters: [...weights.values()].reduce((sum, { data }) => sum + data.length, 0),
      trainDocuments: corpus.train.length,
      trainTokens: data.stream.length,
      heldOutTitles: corpus.heldOut.map(({ title }) => title),
      outcome,
      minutes,
    })
    await write(new Map(outcome.best), card)
    const { best: _, ...numbers } = outcome
    printLine({ ...numbers, folder: out })
  } finally {
    await backend.dispose()
  }
}

await runProgram((args) => main(readOptions(args)))
