/**
 * @file `cutlayer eval`: token-mean loss and perplexity of a model, with or without an adapter, over a file of rows.
 */
import { z } from 'zod'
import { fileSource } from '../datasets/load.js'
import type { Backend } from '../shared/backend/backend.js'
import { openBackend, threadsPerProcess } from '../shared/backend/open.node.js'
import { defineCommand, hubAccess, integerFlag, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import { UserError, unreachable } from '../shared/errors.js'
import { adapterFor } from '../shared/model/adapter-for.node.js'
import { graphWeights } from '../shared/graph/data.js'
import { checkRowsFit } from '../shared/model/fit.js'
import { lossGraph } from '../shared/model/graphs.js'
import type { HubAccess } from '../shared/model/hub/snapshot.node.js'
import { openModel, type ModelFolder } from '../shared/model/model.node.js'
import { openTop } from '../shared/model/stage.js'
import { packBatch } from '../shared/train/batch.js'
import { addSums, finiteOrNull, lossReport, type LossSums } from '../shared/train/metrics.js'
import { scoredTokens, type TokenRow } from '../shared/train/rows.js'

export interface EvaluationOptions {
  /** A model folder or a hub id; null: the shipped model. */
  readonly model: string | null
  /** Branch, tag or commit of a hub id. */
  readonly revision?: string | undefined
  /** A PEFT folder or a hub id. */
  readonly adapter: string | null
  /** A JSONL or CSV file, or a file of code that gives rows (datasets/own.ts). */
  readonly data: string
  /** Whether each row is evaluated by itself, and reported. */
  readonly perRow: boolean
  /** Tokens of a row; null: as many as the model has positions. */
  readonly maxLength: number | null
  /** For prompt/completion rows: whether only the completion is scored. */
  readonly completionOnlyLoss: boolean
  /** Rows of a batch. */
  readonly batchSize: number
  /** Hears how many rows are through. */
  readonly onRows?: (done: number, total: number) => void
  /** Hears what the adapter's config says to no effect. */
  readonly onWarning?: (warning: string) => void
  /** How downloads go. */
  readonly hub?: HubAccess
}

/** Losses are nats per scored token. What is not a finite number is null, with `reason`. */
export interface EvaluationResult {
  readonly loss: number | null
  readonly perplexity: number | null
  readonly bits_per_byte: number | null
  /** Scored tokens. */
  readonly tokens: number
  /** Rows that were evaluated, that were cut at the maximal length, and that had no scored token and were left out. */
  readonly evaluated: number
  readonly truncated: number
  readonly dropped: number
  /** With `perRow`: every row of the file in its order; one that was left out has a null loss and no tokens. */
  readonly rows?: readonly { readonly loss: number | null; readonly tokens: number }[]
  readonly reason?: string
}

/**
 * Evaluates rows on a whole model, by the same graph and program that training evaluates with.
 *
 * @throws UserError for what is wrong with model, adapter or rows; BAD_ARGUMENT for rows longer than the model's positions; DATA_EMPTY if no
 *   token of the file is scored.
 */
export async function evaluateFile(backend: Backend, options: EvaluationOptions): Promise<EvaluationResult> {
  const { revision, hub = {} } = options
  const model = await openModel(options.model, { revision, hub })
  const { lora, tensors, warnings } = await adapterFor(model, options.adapter, hub)
  for (const warning of warnings) options.onWarning?.(warning)
  const { rows, truncated } = await readTokenRows(model, options)
  const kept = rows.filter((row) => row !== null)
  if (kept.length === 0) throw nothingScored(options.data, rows.length)

  const weights = await model.weights(graphWeights(lossGraph(model.definition, 0)).keys())
  const setting = { backend, model: model.definition, weights, lora, smoothing: 0, recomputeAll: false, lane: 0 }
  const whole = await openTop(setting, null)
  const groups: LossSums[] = []
  try {
    let done = 0
    for (const batch of batchesOf(kept, options)) {
      groups.push({
        nll: finiteOrNull(await whole.evaluate(packBatch(batch), tensors)),
        tokens: batch.reduce((sum, row) => sum + scoredTokens(row), 0),
        bytes: batch.reduce((sum, { bytes }) => sum + bytes, 0),
      })
      options.onRows?.((done += batch.length), kept.length)
    }
  } finally {
    await whole.dispose()
  }

  const sums = addSums(groups)
  const { loss, perplexity, bitsPerByte, reason } = lossReport(sums)
  return {
    ...{ loss, perplexity, bits_per_byte: bitsPerByte, tokens: sums.tokens },
    ...{ evaluated: kept.length, truncated, dropped: rows.length - kept.length },
    ...(options.perRow ? { rows: rowResults(rows, groups) } : {}),
    ...(reason === undefined ? {} : { reason }),
  }
}

/** @param groups of the rows that were evaluated, one for each. */
function rowResults(rows: readonly (TokenRow | null)[], groups: readonly LossSums[]): NonNullable<EvaluationResult['rows']> {
  const own = groups.values()
  return rows.map((row) => {
    if (row === null) return { loss: null, tokens: 0 }
    const { nll, tokens } = own.next().value ?? unreachable('a row that was not evaluated')
    return { loss: nll === null ? null : nll / tokens, tokens }
  })
}

/** One row each, in file order; or rows of like length together, so that little of a batch is padding. */
function batchesOf(rows: readonly TokenRow[], { perRow, batchSize }: EvaluationOptions): TokenRow[][] {
  const size = perRow ? 1 : batchSize
  const sorted = perRow ? rows : [...rows].sort((a, b) => a.ids.length - b.ids.length)
  return Array.from({ length: Math.ceil(sorted.length / size) }, (_, batch) => sorted.slice(batch * size, (batch + 1) * size))
}

/** All rows of the file in order; null for one without a scored token. */
async function readTokenRows(
  model: ModelFolder,
  { data, maxLength, completionOnlyLoss }: EvaluationOptions,
): Promise<{ rows: (TokenRow | null)[]; truncated: number }> {
  const { maxPositions } = model.architecture
  if (maxLength !== null && maxLength > maxPositions)
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `rows of ${maxLength} tokens are too long for ${model.name}`,
      why: `the model has ${maxPositions} positions`,
      fix: `give --max-length of at most ${maxPositions}, or leave it out`,
    })
  const [source, tokenizer] = [await fileSource(data), await model.tokenizer()]
  const tokenised = source.units.map((unit) => unit.tokenise(tokenizer, { maxLength: maxLength ?? maxPositions, completionOnlyLoss }))
  const rows = tokenised.flatMap((unit): readonly (TokenRow | null)[] => (unit.rows.length > 0 ? unit.rows : [null]))
  checkRowsFit(
    rows.filter((row) => row !== null),
    model.architecture,
    model.name,
  )
  return { rows, truncated: tokenised.reduce((sum, row) => sum + row.truncated, 0) }
}

function nothingScored(file: string, rows: number): UserError {
  return new UserError({
    code: 'DATA_EMPTY',
    what: `there is nothing to evaluate in ${file}`,
    why: `none of its ${rows} rows has a scored token within the maximal length`,
    fix: 'raise --max-length, or use rows with shorter prompts',
  })
}

export const evalCommand = defineCommand({
  usage: 'eval',
  summary: 'token-mean loss and perplexity of a model, with or without an adapter, over a file of rows',
  example: 'cutlayer eval --model gpt2 --adapter runs/20260101-000000_exp_a1b2/adapter --data rows.jsonl --per-row --format json',
  flags: {
    '--model <model>': 'the model, a folder or a hub id; without it the shipped one',
    '--revision <name>': 'branch, tag or commit of a hub id [main]',
    '--adapter <adapter>': 'a PEFT adapter of that model, a folder or a hub id',
    '--data <file>': 'rows as JSONL or CSV: text, prompt and completion, messages, or alpaca (needed)',
    '--per-row': 'report the loss of each row too',
    '--max-length <tokens>': 'cut longer rows at the end [all positions of the model]',
    '--score-prompts': 'score the prompts of prompt/completion rows too',
    '--batch <rows>': 'rows in a batch [8]',
    '--engine <name>': 'onnx, tfjs or reference [onnx]',
    '--threads <count>': 'threads that compute [cores]',
  },
  options: z.object({
    model: z.string().min(1, 'a folder or a hub id').optional(),
    revision: z.string().optional(),
    adapter: z.string().min(1, 'a folder or a hub id').optional(),
    data: z.string('a JSONL or CSV file').min(1, 'a JSONL or CSV file'),
    perRow: z.boolean().default(false),
    maxLength: integerFlag(2, 1048576).optional(),
    scorePrompts: z.boolean().default(false),
    batch: integerFlag(1, 65536).default(8),
    engine: z.string().default('onnx'),
    threads: integerFlag(1, 1024).optional(),
  }),
  async run(context: CommandContext, _, { engine, threads, ...given }) {
    const backend = openBackend(engine, { threads: threads ?? threadsPerProcess(1), lanes: 1 })
    const bars: Progress[] = []
    try {
      const result = await evaluateFile(backend, {
        model: given.model ?? null,
        revision: given.revision,
        hub: hubAccess(context),
        onWarning: context.warn,
        adapter: given.adapter ?? null,
        data: given.data,
        perRow: given.perRow,
        maxLength: given.maxLength ?? null,
        completionOnlyLoss: !given.scorePrompts,
        batchSize: given.batch,
        onRows(done, total) {
          if (bars.length === 0) bars.push(context.progress('rows', total))
          bars[0].update(done)
        },
      })
      return { data: result, text: resultText(result) }
    } finally {
      bars[0]?.finish()
      await backend.dispose()
    }
  },
})

function resultText(result: EvaluationResult): string {
  const { loss, perplexity, bits_per_byte: bits, tokens, evaluated, truncated, dropped, rows, reason } = result
  const number = (value: number | null, digits: number): string => (value === null ? '-' : value.toFixed(digits))
  const notes = [
    ...(truncated > 0 ? [`${truncated} rows were cut at the end`] : []),
    ...(dropped > 0 ? [`${dropped} rows without a scored token were left out`] : []),
    ...(reason === undefined ? [] : [reason]),
  ]
  return [
    ...(rows ?? []).map((row, index) => `row ${index + 1}: loss ${number(row.loss, 4)} over ${row.tokens} tokens`),
    `loss ${number(loss, 4)} nats per token, perplexity ${number(perplexity, 2)}, ${number(bits, 3)} bits per byte, over ${tokens} scored tokens of ${evaluated} rows`,
    ...notes,
  ].join('\n')
}
