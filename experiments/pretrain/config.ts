/**
 * @file The recipe of a pre-training run, read from YAML.
 */
import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { z } from 'zod'
import { UserError } from '../../shared/errors.js'

const PretrainConfig = z.strictObject({
  seed: z.int().nonnegative(),
  /** The model's config.json as it is written; the family says what it may hold. */
  model: z.looseObject({ model_type: z.literal('gpt2'), initializer_range: z.number().positive() }),
  train: z.strictObject({
    steps: z.int().positive(),
    batch_size: z.int().positive(),
    window_tokens: z.int().min(2),
    learning_rate: z.number().positive(),
    warmup_ratio: z.number().min(0).max(1),
    weight_decay: z.number().nonnegative(),
    adam_beta1: z.number().min(0).lt(1),
    adam_beta2: z.number().min(0).lt(1),
    adam_epsilon: z.number().positive(),
    max_grad_norm: z.number().nonnegative(),
  }),
  evaluation: z.strictObject({ every_steps: z.int().positive(), rows: z.int().positive() }),
  engine: z.strictObject({ threads: z.int().positive() }),
})
export type PretrainConfig = z.infer<typeof PretrainConfig>

/** @throws UserError CONFIG_NOT_FOUND, CONFIG_SYNTAX, or CONFIG_VALUE naming the key. */
export async function loadPretrainConfig(path: string): Promise<PretrainConfig> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new UserError(
      { code: 'CONFIG_NOT_FOUND', what: `there is no recipe to read at ${path}`, why: cause.message, fix: 'give the path of a YAML file' },
      { cause },
    )
  })
  return parsePretrainConfig(text, path)
}

/** @param source what errors call the text. @throws UserError CONFIG_SYNTAX or CONFIG_VALUE */
export function parsePretrainConfig(text: string, source: string): PretrainConfig {
  let raw: unknown
  try {
    raw = parse(text)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new UserError({ code: 'CONFIG_SYNTAX', what: `${source} cannot be read as YAML`, why, fix: 'correct that line' }, { cause })
  }
  const result = PretrainConfig.safeParse(raw)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: `${source} is no recipe for pre-training`,
    why: `${issue.path.join('.') || 'top level'}: ${issue.message}`,
    fix: 'give that key a value as in experiments/pretrain/config.yaml',
  })
}
