/**
 * @file `cutlayer bench wire`: what each codec costs, in time, bytes and error.
 */
import { basename } from 'node:path'
import { z } from 'zod'
import { defineCommand, hubAccess, integerFlag, numberFlag, wordFlag } from '../../../shared/command-line/index.node.js'
import { UserError } from '../../../shared/errors.js'
import { openModel } from '../../../shared/model/model.node.js'
import { readCodecName } from '../../../shared/protocol/codec/name.js'
import { rounded } from '../figures.js'
import { ALL_SHAPES, SHAPE_NAMES } from '../shapes.js'
import { measureStep } from '../step.js'
import { measurePair, WARM_UP_VISITS, type CodecPair } from './measure.js'
import { modelVisits } from './model-visits.js'
import { paddingOf, type Padding } from './padding.js'
import { lineOf, paddingFigures, textOf, type WireLine } from './report.js'
import { randomVisits, type Visits } from './visits.js'

const TIMED_VISITS = 9

/** What can be chosen, and what people combine. `reuse` is for activations. */
const DEFAULT_CODECS = [
  ...['fp32', 'fp16', 'int8', 'int6', 'int4', 'int4:group=64:outliers=4', 'int8+zstd', 'int4+zstd', 'topk+int8', 'topk+int8+zstd'],
  ...['delta+int8', 'delta+int4+zstd', 'feedback+int4', 'lowrank+int8', 'lowrank+int8+zstd', 'reuse+int8/int8'],
].join(',')

export const benchWireCommand = defineCommand({
  usage: 'bench wire',
  summary: 'what codecs of activations and gradients cost: time, as a share of a step, bytes and error',
  example:
    'cutlayer bench wire --codecs int8,lowrank+int8,reuse+int8/int8 --format json\ncutlayer bench wire --model my-model --data rows.jsonl --padded-to 512',
  flags: {
    '--codecs <list>': 'codecs, joined by commas; ACTIVATIONS/GRADIENTS, or one for both [16 of them]',
    '--shape <name>': 'measure on random numbers of the width of this: small, gpt2, gpt2-medium or smollm2-135m [gpt2]',
    '--model <model>': 'measure on what this model, a folder or a hub id, sends as it learns',
    '--data <file>': 'rows that the model learns; and tell what leaving out their padding saves [random tokens]',
    '--padded-to <tokens>': 'length that others pad rows to [512]',
    '--cut <blocks>': "blocks below the model's cut [2]",
    '--batch <rows>': 'rows in a batch [4]',
    '--seq <tokens>': 'tokens in a row [128]',
    '--rank <r>': 'of LoRA, which the rank of `lowrank` follows [8]',
    '--step-ms <time>': 'milliseconds of a training step, in place of measuring one',
    '--threads <count>': 'threads that compute the step [2]',
  },
  options: z.object({
    codecs: z.string().default(DEFAULT_CODECS).transform(codecPairs),
    shape: wordFlag(SHAPE_NAMES).optional(),
    model: z.string().optional(),
    data: z.string().optional(),
    paddedTo: integerFlag(1, 1_000_000).default(512),
    cut: integerFlag(0, 1000).default(2),
    batch: integerFlag(1, 1024).default(4),
    seq: integerFlag(2, 1024).default(128),
    rank: integerFlag(1, 256).default(8),
    stepMs: numberFlag(0.001, 1e9).optional(),
    threads: integerFlag(1, 1024).default(2),
  }),
  async run(context, _, { codecs, shape: givenShape, model, data, paddedTo, stepMs: givenStep, ...options }) {
    if (model !== undefined && givenShape !== undefined) throw notBoth('--shape and --model are both given')
    if (model === undefined && data !== undefined) throw notBoth('--data is rows for a model to learn, and there is no --model')
    const shape = givenShape ?? 'gpt2'
    const { batch, seq, rank, threads, cut } = options
    const hub = hubAccess(context)
    const bar = context.progress('visits', WARM_UP_VISITS + TIMED_VISITS)
    const count = WARM_UP_VISITS + TIMED_VISITS
    let visits: Visits
    let padding: Padding | null = null
    if (model === undefined) visits = randomVisits(batch, seq, widthOf(shape), count)
    else {
      if (data !== undefined) padding = await paddingOf(await openModel(model, { hub }), data, paddedTo)
      const onVisit = (done: number): void => bar.update(done)
      visits = await modelVisits({ model, data: data ?? null, cut, batch, seq, rank, threads, visits: count, hub, onVisit })
    }
    bar.finish()
    const stepMs =
      givenStep ?? (await medianStepMs(model === undefined ? { config: ALL_SHAPES[shape] } : { model }, { batch, seq, threads }))
    const lines: WireLine[] = []
    const pairs = context.progress('codecs', codecs.length)
    for (const [index, pair] of codecs.entries()) {
      lines.push(lineOf(pair, await measurePair(pair, visits, rank), visits.visits[0].activations.length, stepMs, padding))
      pairs.update(index + 1)
    }
    pairs.finish()
    const tokens = visits.visits[0].activations.length / visits.width
    const result = {
      ...(model === undefined ? { shape } : { model: basename(model) }),
      numbers: model === undefined ? 'random, with outlier channels' : data === undefined ? 'of the model, random tokens' : 'of the model',
      ...{
        batch: visits.lengths.length,
        tokens,
        width: visits.width,
        rank,
        step_ms: rounded(stepMs, 1),
        step_measured: givenStep === undefined,
      },
      ...(padding && { padding: paddingFigures(padding) }),
      codecs: lines,
    }
    return { data: result, text: textOf(result, (title) => context.paint('bold', title)) }
  },
})

function codecPairs(list: string, issues: z.RefinementCtx): CodecPair[] {
  return list.split(',').map((text) => {
    const [activations, gradients = activations, ...more] = text.split('/')
    const problems = [readCodecName(activations, 'activations'), readCodecName(gradients, 'gradients')]
    for (const read of problems) if ('problem' in read) issues.addIssue({ code: 'custom', message: read.problem })
    if (more.length > 0) issues.addIssue({ code: 'custom', message: `"${text}" names more than two codecs` })
    return { activations, gradients }
  })
}

function widthOf(shape: keyof typeof ALL_SHAPES): number {
  const config = ALL_SHAPES[shape]
  return 'n_embd' in config ? config.n_embd : config.hidden_size
}

async function medianStepMs(
  source: Parameters<typeof measureStep>[0]['source'],
  options: { readonly batch: number; readonly seq: number; readonly threads: number },
): Promise<number> {
  const { stepMs } = await measureStep({ source, precision: 'fp32', scored: 1, ...options })
  return stepMs[Math.floor(stepMs.length / 2)]
}

function notBoth(why: string): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear what to measure',
    why,
    fix: 'give --model with --data, or --shape alone',
  })
}
