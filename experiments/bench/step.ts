/**
 * @file One LoRA training step of a whole model, timed: forward, loss, backward and AdamW.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { PRECISIONS, type Precision, type WeightStore } from '../../shared/backend/weights.js'
import { onnxBackend } from '../../shared/backend/onnx/onnx.node.js'
import { tfjsBackend } from '../../shared/backend/tfjs/tfjs.node.js'
import { defineCommand, downloadReport, integerFlag, numberFlag, wordFlag } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { beforeExit } from '../../shared/exit.node.js'
import { initialAdapter } from '../../shared/model/adapter.js'
import { familyOf } from '../../shared/model/families/index.js'
import type { ModelDefinition } from '../../shared/model/graphs.js'
import { weightsOfSides } from '../../shared/model/loaded.js'
import { targetedModules } from '../../shared/model/lora.js'
import type { HubAccess } from '../../shared/model/hub/snapshot.node.js'
import { openModel } from '../../shared/model/model.node.js'
import { openTop } from '../../shared/model/stage.js'
import { derive } from '../../shared/random.js'
import { adamw } from '../../shared/train/adamw.js'
import { packBatch, type Batch } from '../../shared/train/batch.js'
import { childrensPeakBytes } from './children.js'
import { rounded } from './figures.js'
import { writeRandomWeights } from './random-weights.js'
import { ALL_SHAPES, SHAPE_NAMES } from './shapes.js'
import { profileFiles, profileTable, readStepProfile, type StepProfile } from './step-profile.js'

const RANK = 8
/** The first steps are slower: memory is allocated, and pages of the weights are read. */
const WARM_UP_STEPS = 2
const STEPS = 7
/** Lines of the table of a profile; JSON has them all. */
const PROFILE_LINES = 12

const ENGINES = ['onnx', 'tfjs'] as const
type StepEngine = (typeof ENGINES)[number]

interface StepOptions {
  /** A configuration as config.json has it, whose weights are then random; or a model's folder or hub id. */
  readonly source: { readonly config: object } | { readonly model: string }
  /** How downloads go. */
  readonly hub?: HubAccess
  readonly engine?: StepEngine
  /** Of the frozen weights. */
  readonly precision: Precision
  readonly batch: number
  readonly seq: number
  /** Share of positions that carry a label: the last ones. */
  readonly scored: number
  readonly threads: number
  /** Prefix of ONNX Runtime profiles, for finding out where the time goes. */
  readonly profile?: string
  /** Told before the first step, and after each. */
  readonly onStep?: (done: number, of: number) => void
}

interface StepTimes {
  /** Sorted. */
  readonly stepMs: readonly number[]
  /** Largest resident memory so far of the process, and of those that compute for it. */
  readonly peakMegabytes: number
  /** Of the steps that count; null if none was asked for. */
  readonly profile: StepProfile | null
}

export const benchStepCommand = defineCommand({
  usage: 'bench step',
  summary: 'time one LoRA training step of a whole model: forward, loss, backward and AdamW',
  example: 'cutlayer bench step --shape gpt2 --batch 4 --seq 128 --threads 2 --format json',
  flags: {
    '--shape <name>': 'size of the model, whose weights are random: small (6 blocks of 256), gpt2, gpt2-medium or smollm2-135m [gpt2]',
    '--model <model>': 'time this model, a folder or a hub id, in place of a shape',
    '--batch <rows>': 'rows in a batch [4]',
    '--seq <tokens>': 'tokens in a row [128]',
    '--scored <share>': 'share of the positions that carry a label [1]',
    '--precision <name>': 'of the frozen weights: fp32, or q8 (8-bit blocks) [fp32]',
    '--engine <name>': 'onnx or tfjs [onnx]',
    '--threads <count>': 'threads that compute [2]',
    '--profile <prefix>': "write ONNX Runtime's profile to a file of that prefix, and tell the time by op",
  },
  options: z.object({
    shape: wordFlag(SHAPE_NAMES).optional(),
    model: z.string().optional(),
    batch: integerFlag(1, 1024).default(4),
    seq: integerFlag(2, 1024).default(128),
    scored: numberFlag(0, 1).default(1),
    precision: wordFlag(PRECISIONS).default('fp32'),
    engine: wordFlag(ENGINES).default('onnx'),
    threads: integerFlag(1, 1024).default(2),
    profile: z.string().optional(),
  }),
  async run(context, _, { shape, model, engine, profile, ...options }) {
    if (shape !== undefined && model !== undefined) throw shapeOrModel()
    if (profile !== undefined && engine !== 'onnx') throw profileOfOnnx(engine)
    const name = model ?? shape ?? 'gpt2'
    const tellDownload = downloadReport(context)
    let bar = context.progress('preparing the model', 0)
    bar.update(0)
    const {
      stepMs,
      peakMegabytes,
      profile: byOp,
    } = await measureStep({
      ...options,
      engine,
      onStep(done, of) {
        if (done === 0) {
          bar.finish()
          bar = context.progress('steps', of)
        }
        bar.update(done)
      },
      source: model === undefined ? { config: ALL_SHAPES[shape ?? 'gpt2'] } : { model },
      hub: {
        signal: context.signal,
        onEvent(event) {
          if (event.type === 'begin') bar.finish()
          tellDownload(event)
        },
      },
      ...(profile === undefined ? {} : { profile }),
    })
    bar.finish()
    const median = stepMs[Math.floor(stepMs.length / 2)]!
    const data = {
      ...(model === undefined ? { shape: name } : { model: basename(name) }),
      ...options,
      rank: RANK,
      engine,
      median_ms: tenths(median),
      min_ms: tenths(stepMs[0]!),
      tokens_per_s: tenths((options.batch * options.seq * 1000) / median),
      rss_mb: Math.round(peakMegabytes),
      ...(byOp && {
        profile: {
          run_ms: tenths(byOp.runMilliseconds),
          ops: byOp.ops.map(({ op, nodes, milliseconds, share }) => ({
            op,
            nodes,
            ms: rounded(milliseconds, 3),
            share: rounded(share, 4),
          })),
        },
      }),
    }
    const summary = `${name}, ${options.batch} rows of ${options.seq} tokens, ${options.threads} threads: median ${data.median_ms} ms, best ${data.min_ms} ms, ${data.tokens_per_s} tokens/s, at most ${data.rss_mb} MB`
    const text = byOp ? `${summary}\n\n${profileTable(byOp, PROFILE_LINES, (title) => context.paint('bold', title))}` : summary
    return { data, text }
  },
})

function tenths(value: number): number {
  return rounded(value, 1)
}

/** Works in a temporary folder, which it removes. */
export async function measureStep(options: StepOptions): Promise<StepTimes> {
  const profiles = options.profile === undefined ? null : await profileFiles(options.profile)
  const folder = await mkdtemp(join(tmpdir(), `cutlayer-bench-${process.pid}-`))
  // Nothing else is to run on these threads, so they may poll; a training run does neither this nor have one lane only.
  const backend =
    options.engine === 'tfjs'
      ? tfjsBackend({ threads: options.threads, lanes: 1 })
      : onnxBackend({ threads: options.threads, lanes: 1, spinning: true, ...(profiles && { profile: profiles.prefix }) })
  let cleaning: Promise<void> | null = null
  const cleanUp = (): Promise<void> => (cleaning ??= backend.dispose().then(() => rm(folder, { recursive: true, force: true })))
  // Also when Ctrl-C ends it.
  const takeBack = beforeExit(cleanUp)
  try {
    const { model, weights } = await modelAndWeights(options, folder)
    const { family, config } = model
    const modules = targetedModules(family.linears(config), family.defaultTargets)
    const lora = { paths: modules.map(({ path }) => path), scale: 2, dropout: 0 }
    const whole = await openTop({ backend, model, weights, lora, smoothing: 0, recomputeAll: false, lane: 0 }, null, { forSpeed: true })
    const adapter = initialAdapter(modules, { r: RANK, seed: 1, init: true })
    const optimizer = adamw({ adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0.01 })
    const batch = randomBatch(options, family.architecture(config).vocabularySize)
    const stepMs: number[] = []
    options.onStep?.(0, WARM_UP_STEPS + STEPS)
    for (let step = 0; step < WARM_UP_STEPS + STEPS; step++) {
      const start = performance.now()
      const key = { seed: 1, client: 'client-0', round: 1, step, micro: 0 }
      const { grads } = await whole.train(batch, batch.targets.data.length, adapter, key)
      optimizer.step(adapter, grads, 1e-4)
      stepMs.push(performance.now() - start)
      options.onStep?.(step + 1, WARM_UP_STEPS + STEPS)
    }
    await whole.dispose()
    const peakMegabytes = process.resourceUsage().maxRSS / 1000 + childrensPeakBytes() / 1e6
    const profile = profiles && (await readStepProfile(await profiles.written(), WARM_UP_STEPS))
    return { stepMs: stepMs.slice(WARM_UP_STEPS).sort((a, b) => a - b), peakMegabytes, profile }
  } finally {
    await cleanUp()
    takeBack()
  }
}

async function modelAndWeights(
  { source, precision, hub = {} }: StepOptions,
  scratch: string,
): Promise<{ model: ModelDefinition; weights: WeightStore }> {
  if ('config' in source) {
    const family = familyOf(source.config)
    const model = { family, config: family.parse(source.config) }
    return { model, weights: await writeRandomWeights(scratch, model, precision) }
  }
  const { definition, weights } = await openModel(source.model, { hub })
  return { model: definition, weights: await weights(weightsOfSides(definition, null).bottom, { precision }) }
}

function profileOfOnnx(engine: StepEngine): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: '--profile tells nothing of this engine',
    why: `it is ONNX Runtime that writes profiles, and --engine is ${engine}`,
    fix: 'leave one of the two out',
  })
}

function shapeOrModel(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'it is not clear what to time',
    why: '--shape and --model are both given',
    fix: 'give one of the two',
  })
}

/** Rows of random tokens. Position 0 is never scored, as nothing precedes it, and one position always is. */
function randomBatch({ batch, seq, scored }: StepOptions, vocabularySize: number): Batch {
  const random = derive(1, 'benchmark tokens')
  const first = Math.min(Math.max(1, Math.round(seq * (1 - scored))), seq - 1)
  const rows = Array.from({ length: batch }, () => ({
    ids: Int32Array.from({ length: seq }, () => random.below(vocabularySize)),
    scored: Uint8Array.from({ length: seq }, (_, position) => (position >= first ? 1 : 0)),
    bytes: 0,
  }))
  return packBatch(rows)
}
