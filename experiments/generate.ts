/**
 * @file `cutlayer generate`: text of a model, with or without an adapter, or of a run, streamed as it comes.
 */
import { join } from 'node:path'
import { z } from 'zod'
import { openBackend, threadsPerProcess } from '../shared/backend/open.node.js'
import { defineCommand, hubAccess, integerFlag, numberFlag, type CommandContext } from '../shared/command-line/index.node.js'
import { parseConfig } from '../shared/config/parse.js'
import { UserError } from '../shared/errors.js'
import { adapterFor } from '../shared/model/adapter-for.node.js'
import { decoderWeights, openDecoder } from '../shared/model/decoder.js'
import { checkTokensKnown } from '../shared/model/fit.js'
import { generateTokens } from '../shared/model/generate.js'
import { openModel } from '../shared/model/model.node.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import { adapterOfRun } from './run-adapters.js'
import { findRun, readRun } from './runs.js'

export const generateCommand = defineCommand({
  usage: 'generate',
  summary: 'text of a model, with or without an adapter, or of a run; streamed',
  example: 'cutlayer generate --run quickstart --prompt "Fellow citizens," --max-new-tokens 60 --temperature 0.8',
  flags: {
    '--model <model>': 'the model, a folder or a hub id; without it and --run the shipped one',
    '--revision <name>': 'branch, tag or commit of a hub id [main]',
    '--adapter <adapter>': 'a PEFT adapter of that model, a folder or a hub id',
    '--run <run>': "a run's model and its last adapter: a folder, name or id",
    '--client <id>': 'whose adapter, of a run in which each client has its own',
    '--prompt <text>': 'what the text begins with (needed)',
    '--max-new-tokens <n>': 'at most so many tokens [50]',
    '--temperature <t>': '0: always the likeliest token [0]',
    '--top-k <k>': 'only the k likeliest tokens; 0: all [0]',
    '--top-p <p>': 'only the likeliest tokens that reach this probability together [1]',
    '--repetition-penalty <p>': 'above 1: tokens seen before become less likely [1]',
    '--seed <n>': 'of the random choices [42]',
    '--engine <name>': 'onnx, tfjs or reference [onnx]',
    '--threads <count>': 'threads that compute [cores]',
    '--output-dir <folder>': 'where the runs are [runs]',
  },
  options: z.object({
    model: z.string().min(1, 'a folder or a hub id').optional(),
    revision: z.string().optional(),
    adapter: z.string().min(1, 'a folder or a hub id').optional(),
    run: z.string().optional(),
    client: z.string().optional(),
    prompt: z.string('a text'),
    maxNewTokens: integerFlag(1, 1048576).default(50),
    temperature: numberFlag(0, 100).default(0),
    topK: integerFlag(0, 1048576).default(0),
    topP: numberFlag(0, 1).default(1),
    repetitionPenalty: numberFlag(0.01, 100).default(1),
    seed: integerFlag(0).default(42),
    engine: z.string().default('onnx'),
    threads: integerFlag(1, 1024).optional(),
    outputDir: z.string().default('runs'),
  }),
  async run(context, _, { model: name, revision, adapter, run, client, outputDir, engine, threads, prompt, ...options }) {
    if (run !== undefined && (name !== undefined || adapter !== undefined || revision !== undefined)) throw runOrModel()
    if (run === undefined && client !== undefined) throw clientWithoutRun()
    const source =
      run === undefined ? { model: name ?? null, revision, adapter: adapter ?? null } : await sourceOfRun(run, outputDir, client)
    const hub = hubAccess(context)
    const model = await openModel(source.model, { revision: source.revision, hub })
    const tokenizer = await model.tokenizer()
    const { lora, tensors, warnings } = await adapterFor(model, source.adapter, hub)
    warnings.forEach(context.warn)
    const ids = tokenizer.encode(prompt, { specialTokens: true })
    // A model goes on from something: an empty prompt begins where a text begins.
    const start = ids.length > 0 ? ids : Int32Array.of(tokenizer.bosId ?? tokenizer.eosId ?? 0)
    checkTokensKnown(start, model.architecture.vocabularySize, model.name)
    const weights = await model.weights(decoderWeights(model.definition))
    const backend = openBackend(engine, { threads: threads ?? threadsPerProcess(1), lanes: 1 })
    try {
      const decoder = await openDecoder({ backend, model: model.definition, weights, lora, lane: 0 }, tensors)
      context.stream(prompt)
      const written = await stream(context, tokenizer, generateTokens(decoder, start, { ...options, eosId: tokenizer.eosId }))
      context.stream('\n')
      if (decoder.room === 0) context.warn(`the text ends here because ${model.name} has no position left`)
      await decoder.dispose()
      return { data: { text: written.text, token_ids: written.ids }, text: '' }
    } finally {
      await backend.dispose()
    }
  },
})

/** Writes text as soon as its characters are whole: a byte-level token may end in the middle of one. */
async function stream(
  context: CommandContext,
  tokenizer: Tokenizer,
  tokens: AsyncIterable<number>,
): Promise<{ text: string; ids: number[] }> {
  const ids: number[] = []
  let text = ''
  for await (const id of tokens) {
    ids.push(id)
    const whole = tokenizer.decode(ids, { skipSpecialTokens: true })
    const piece = whole.endsWith('\ufffd') ? '' : whole.slice(text.length)
    text += piece
    context.stream(piece)
    if (context.format === 'json') context.event({ event: 'token', id, text: piece }, '')
  }
  const rest = tokenizer.decode(ids, { skipSpecialTokens: true }).slice(text.length)
  context.stream(rest)
  return { text: text + rest, ids }
}

/** @throws UserError RUN_NOT_FOUND, and as adapterOfRun. */
async function sourceOfRun(
  reference: string,
  outputDir: string,
  client: string | undefined,
): Promise<{ model: string | null; revision: string; adapter: string }> {
  const run = await readRun(await findRun(reference, outputDir))
  const { folder } = adapterOfRun(run, 'last', client)
  const { model_name_or_path: model, revision } = parseConfig(run.config, join(run.folder, 'config.yaml')).model
  return { model, revision, adapter: folder }
}

function runOrModel(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear which model to use',
    why: '--run names a model and an adapter, and --model, --revision or --adapter is given too',
    fix: 'give --run alone, or --model and --adapter',
  })
}

function clientWithoutRun(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear whose adapter to use',
    why: '--client names a client of a run, and no --run is given',
    fix: 'add --run, or give the folder of the adapter with --adapter',
  })
}
