/**
 * @file Rotary embedding as config.json describes it, in transformers' present form (`rope_parameters`) and its older one (`rope_scaling` and
 * `rope_theta`).
 */
import { z } from 'zod'
import { parseConfig, refusedConfig } from './parse-config.js'
import { linearFrequencies, llama3Frequencies, plainFrequencies, yarnFrequencies, yarnScale, type Rope } from './rope-frequencies.js'

const Parameters = z.record(z.string(), z.unknown()).nullish()
const Positive = z.number().positive()
const WholeHead = z.literal(1, 'a rotary embedding of a part of each head is not supported').nullish()

/** The keys of a config.json that rotary embedding reads. */
export const ropeKeys = {
  rope_parameters: Parameters,
  rope_scaling: Parameters,
  rope_theta: Positive.optional(),
  partial_rotary_factor: WholeHead,
  original_max_position_embeddings: z.int().positive().optional(),
  max_position_embeddings: z.int().positive(),
}

type RopeConfig = z.infer<z.ZodObject<typeof ropeKeys>>

/** Every type has them. */
const common = {
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: Positive.optional(),
  partial_rotary_factor: WholeHead,
}
const originalPositions = { original_max_position_embeddings: z.int().positive().nullish() }

const schemas = {
  default: z.strictObject(common),
  linear: z.strictObject({ ...common, factor: Positive }),
  llama3: z
    .strictObject({ ...common, ...originalPositions, factor: Positive, low_freq_factor: Positive, high_freq_factor: Positive })
    .refine((given) => given.high_freq_factor > given.low_freq_factor, {
      path: ['high_freq_factor'],
      message: 'it must be larger than low_freq_factor',
    }),
  yarn: z.strictObject({
    ...common,
    ...originalPositions,
    factor: Positive.nullable(),
    attention_factor: Positive.nullish(),
    beta_fast: Positive.nullish(),
    beta_slow: Positive.nullish(),
    mscale: z.number().nonnegative().nullish(),
    mscale_all_dim: z.number().nonnegative().nullish(),
    truncate: z.boolean().default(true),
  }),
} as const

/**
 * @param family what errors call the model's kind.
 * @param size numbers of a head.
 * @throws UserError MODEL_UNSUPPORTED for types whose frequencies depend on the text, and for values that no such embedding has.
 */
export function ropeOf(config: RopeConfig, size: number, family: string): Rope {
  const key = isGiven(config.rope_scaling) ? 'rope_scaling' : 'rope_parameters'
  const json = (key === 'rope_scaling' ? config.rope_scaling : config.rope_parameters) ?? {}
  const type = json['rope_type'] ?? json['type'] ?? 'default'
  if (size % 2 !== 0) throw refusedConfig(family, `head_dim: heads of ${size} numbers cannot be rotated in pairs`)
  if (typeof type !== 'string' || !Object.hasOwn(schemas, type))
    throw refusedConfig(family, `${key}.rope_type: ${String(type)} is not supported; ${Object.keys(schemas).join(', ')} are`)
  const read = <Schema extends z.ZodType>(schema: Schema): z.output<Schema> =>
    parseConfig(family, z.object({ [key]: schema }), { [key]: json })[key] as z.output<Schema>
  const theta = read(z.looseObject(common)).rope_theta ?? config.rope_theta ?? 10000
  const plain = { size, theta }
  // A value at the top level goes before the one among the parameters; without any, the model has not been stretched.
  const positions = (inside: number | null | undefined): number =>
    config.original_max_position_embeddings ?? inside ?? config.max_position_embeddings
  switch (type as keyof typeof schemas) {
    case 'default':
      read(schemas.default)
      return { frequencies: plainFrequencies(plain), scale: 1 }
    case 'linear':
      return { frequencies: linearFrequencies({ ...plain, factor: read(schemas.linear).factor }), scale: 1 }
    case 'llama3': {
      const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings: inside } = read(schemas.llama3)
      const bands = { lowFrequencyFactor: low_freq_factor, highFrequencyFactor: high_freq_factor, originalPositions: positions(inside) }
      return { frequencies: llama3Frequencies({ ...plain, factor, ...bands }), scale: 1 }
    }
    case 'yarn': {
      const given = read(schemas.yarn)
      const original = positions(given.original_max_position_embeddings)
      const factor = given.factor ?? config.max_position_embeddings / original
      const betas = { betaFast: given.beta_fast ?? 32, betaSlow: given.beta_slow ?? 1 }
      return {
        frequencies: yarnFrequencies({ ...plain, factor, originalPositions: original, ...betas, truncate: given.truncate }),
        scale: given.attention_factor ?? yarnScale(factor, given.mscale ?? null, given.mscale_all_dim ?? null),
      }
    }
  }
}

/** transformers takes an empty object for none. */
function isGiven(parameters: RopeConfig['rope_scaling']): boolean {
  return parameters !== null && parameters !== undefined && Object.keys(parameters).length > 0
}
