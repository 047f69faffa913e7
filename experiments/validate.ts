/**
 * @file `cutlayer validate`: checks a config, and whether the model and rows that it names fit it, without training anything.
 */
import { open, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { z } from 'zod'
import { ownSource } from '../datasets/own.js'
import { loadStrategy } from '../server/strategy/own.js'
import { defineCommand, hubAccess } from '../shared/command-line/index.node.js'
import { loadConfigSeries } from '../shared/config/load.node.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { clientCount, type Config } from '../shared/config/schema.js'
import { adapterShapes } from '../shared/model/adapter.js'
import { checkConfigFits, type ConfigFit } from '../shared/model/fit.js'
import type { HubAccess } from '../shared/model/hub/snapshot.node.js'
import { isOnHub } from '../shared/model/model-source.node.js'
import { openModel, openOutline, type ModelOutline } from '../shared/model/model.node.js'
import type { PerModule } from '../shared/model/module-selection.js'
import { startAdapter, unusedLoraKeys } from '../shared/model/warm-start.node.js'
import { elements } from '../shared/tensor.js'
import { checkRows } from './check-rows.js'
import { clientsOfRun, strangersOf } from './named-clients.js'

/** Enough for the first row of a file of rows. */
const PEEK_BYTES = 65536

export const validateCommand = defineCommand({
  usage: 'validate <config> [overrides...]',
  summary: 'check a config, and warn of what it probably does not mean',
  example: 'cutlayer validate config.yaml\ncutlayer validate config.yaml split.cut_layer=3 --format json',
  options: z.object({}),
  async run(context, [path, ...overrides]) {
    const series = await loadConfigSeries(path!, overrides)
    const [config] = series.configs
    const seeds = series.configs.map(({ train }) => train.seed)
    const missing = await missingFiles(config)
    const model = await openForChecks(config.model, hubAccess(context))
    await startAdapter(config.lora, model)
    const fit = checkConfigFits(config, model)
    // Of another seed the rows may be divided otherwise.
    if (missing.length === 0) for (const each of series.configs) await checkRows(each, model)
    if (missing.length === 0) await loadStrategy(config.federation)
    const warnings = [
      ...missing,
      ...privacyWarnings(config, await scoresAllTokens(config, model)),
      ...unusedLoraKeys(config.lora, fit.lora),
      ...trainingWarnings(config),
      ...strangersOf(config).map(
        ({ key, client }) => `${key} names ${client}, and \`cutlayer run\` starts ${clientsOfRun(config)}: a server of its own is needed`,
      ),
    ]
    const heading = `${context.paint('bold', `${path} is valid`)}${warnings.length === 0 ? '' : ', with warnings'}`
    const told = warnings.map((warning) => `${context.paint('yellow', 'warning:')} ${warning}`)
    const many = series.isList ? [`seeds     ${seeds.join(', ')}: a run of its own for each`] : []
    return {
      data: { config: { ...config, train: { ...config.train, seed: series.isList ? seeds : config.train.seed } }, warnings },
      text: [heading, ...whatItDoes(config, model, fit), ...many, ...told].join('\n'),
    }
  },
})

/** A folder is looked at whole; of a hub model what fits in a few megabytes, as its weights are not needed to check a config. */
async function openForChecks({ model_name_or_path: name, revision }: Config['model'], hub: HubAccess): Promise<ModelOutline> {
  return name !== null && (await isOnHub(name)) ? openOutline(name, { revision, hub }) : openModel(name, { revision })
}

/** So that a person sees whether the config says what was meant. */
function whatItDoes(
  { data, train, federation, lora, split }: Config,
  { name, architecture }: ModelOutline,
  { cut, lora: { modules, ranks } }: ConfigFit,
): string[] {
  const parameters = [...adapterShapes(modules, ranks).values()].reduce((sum, shape) => sum + elements(shape), 0)
  const { num_rounds: rounds, local_steps: steps, local_epochs: epochs } = federation
  const holders = clientCount({ split, federation })
  const each = holders === 1 ? 'one client' : `each of ${holders} clients`
  const where = cut === null ? `all of them on ${each}` : `${cut} on ${each}, ${architecture.layers - cut} on the server`
  const division = data.partition ?? 'natural if rows name their client, else iid'
  const amount = steps === null ? `${epochs} local epochs` : `${steps} local steps`
  return [
    `model     ${name}: ${architecture.layers} blocks, ${where}`,
    `adapter   ${rankText(ranks)} on ${modules.length} linear layers, ${parameters.toLocaleString('en')} parameters${lora.init_from === null ? '' : `, from ${lora.init_from}`}`,
    `data      ${data.path ?? data.dataset}, rows of at most ${data.max_length} tokens, ${holders === 1 ? 'all on one client' : `divided by client: ${division}`}`,
    `training  ${rounds} rounds of ${amount}, batches of ${train.per_device_train_batch_size}, learning rate ${train.learning_rate}`,
  ]
}

function rankText(ranks: PerModule): string {
  if (typeof ranks === 'number') return `rank ${ranks}`
  const values = [...ranks.values()]
  return `ranks ${Math.min(...values)} to ${Math.max(...values)}`
}

/** Warnings, because a config may be written on another machine than the one whose rows and token it names. */
async function missingFiles({ data, federation, transport }: Config): Promise<string[]> {
  const named = [
    ['data.dataset', isOwnModule(data.dataset) ? data.dataset : null],
    ['federation.strategy', isOwnModule(federation.strategy) ? federation.strategy : null],
    ['data.path', data.path],
    ['data.eval_path', data.eval_path],
    ['transport.tls.cert', transport.tls?.cert ?? null],
    ['transport.tls.key', transport.tls?.key ?? null],
    ['transport.token_file', transport.token_file],
  ] as const
  const warnings = await Promise.all(
    named.map(async ([key, path]) =>
      path === null || (await exists(path)) ? [] : [`${key} names ${path}, and there is no ${resolve(path)}`],
    ),
  )
  return warnings.flat()
}

/** What the server learns, where that may surprise. Source: the standard mode sends Z and the ids of the scored tokens. */
function privacyWarnings({ split, data }: Config, isAllScored: boolean): string[] {
  const warnings: string[] = []
  if (split.topology === 'split' && split.cut_layer === 0) {
    warnings.push("split.cut_layer is 0: the activations are a table look-up of the token ids, so the server can read every client's text")
  }
  if (split.topology === 'split' && isAllScored) {
    const why = data.completion_only_loss ? 'the rows are plain text' : 'data.completion_only_loss is false'
    warnings.push(`${why}: (nearly) every token is scored, and the ids of scored tokens go to the server, so it can read the text`)
  }
  return warnings
}

function trainingWarnings({ train, federation, data }: Config): string[] {
  const warnings: string[] = []
  if (train.learning_rate === 0) warnings.push('train.learning_rate is 0: nothing will be learned')
  if (train.warmup_ratio === 1) warnings.push('train.warmup_ratio is 1: the rate rises to the end and is never held')
  if (data.eval_fraction === 0 && data.eval_path === null)
    warnings.push('data.eval_fraction is 0 and there is no data.eval_path: nothing will be evaluated')
  const { round_deadline_s: round, step_deadline_s: step } = federation
  if (round !== null && step !== null && round < step)
    warnings.push('federation.round_deadline_s is shorter than step_deadline_s: no step will reach its own deadline')
  return warnings
}

async function scoresAllTokens({ data }: Config, model: ModelOutline): Promise<boolean> {
  if (isOwnModule(data.dataset)) {
    if (!(await exists(data.dataset))) return false
    const options = { maxLength: data.max_length, completionOnlyLoss: data.completion_only_loss }
    const [first] = (await ownSource(data.dataset)).units
    const row = first?.tokenise(await model.tokenizer(), options).rows[0]
    return row !== undefined && row.scored.every((flag, position) => position === 0 || flag === 1)
  }
  if (data.path === null || !data.completion_only_loss) return true
  try {
    const row: unknown = JSON.parse(await firstLine(data.path))
    return typeof row === 'object' && row !== null && 'text' in row
  } catch {
    return false // no file, or no row: training will say so, with its line
  }
}

async function firstLine(path: string): Promise<string> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(PEEK_BYTES), 0, PEEK_BYTES, 0)
    return buffer.subarray(0, bytesRead).toString('utf8').split('\n', 1)[0]!
  } finally {
    await file.close()
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    return false
  }
}
