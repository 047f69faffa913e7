/**
 * @file The families that models are recognised by, and what no family can honour.
 */
import { UserError } from '../../errors.js'
import type { Family } from './family.js'
import { gpt2 } from './gpt2.js'
import { llama } from './llama.js'
import { mistral } from './mistral.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'

const families: readonly Family[] = [gpt2, llama, mistral, qwen2, qwen3]

/**
 * The family that reads a model.
 * @param config config.json as it was parsed.
 * @throws UserError MODEL_CORRUPT for a config.json without a `model_type`; MODEL_UNSUPPORTED for one that no family reads, for a class
 *   with another head, for quantized weights and for a model that brings code of its own.
 */
export function familyOf(config: unknown): Family {
  const { model_type: type, architectures, quantization_config: quantization, auto_map: ownCode } = fieldsOf(config)
  if (typeof type !== 'string')
    throw new UserError({
      code: 'MODEL_CORRUPT',
      what: 'the model folder cannot be read',
      why: 'its config.json names no model_type',
      fix: 'use a folder that transformers wrote with save_pretrained',
    })
  const family = families.find(({ modelTypes }) => modelTypes.includes(type))
  if (!family)
    throw unsupported(
      `models of type ${type} cannot be used`,
      `supported types are ${families.flatMap(({ modelTypes }) => modelTypes).join(', ')}`,
      'choose a model of a supported type',
    )
  const classes = Array.isArray(architectures) ? architectures : []
  if (classes.length > 0 && !classes.some((name) => family.architectures.includes(String(name))))
    throw unsupported(
      `a ${classes.join(', ')} cannot be used`,
      `config.json, architectures: of type ${type}, ${family.architectures.join(' and ')} are supported`,
      'choose a language model: one with no other head than that which predicts the next token',
    )
  if (isGiven(quantization))
    throw unsupported(
      'this model has quantized weights',
      'config.json, quantization_config: weights are read as F32, F16, BF16 or F64',
      'use the model that it was quantized from',
    )
  if (isGiven(ownCode))
    throw unsupported(
      'this model brings code of its own',
      `config.json, auto_map: code in a model folder is never run, and without it the model may not be a plain ${type}`,
      'choose a model that needs no trust_remote_code',
    )
  return family
}

/** A config of another form has no field. */
function fieldsOf(config: unknown): Readonly<Record<string, unknown>> {
  return typeof config === 'object' && config !== null ? { ...config } : {}
}

/** transformers writes what is not set as null, an empty object, or not at all. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && !(typeof value === 'object' && Object.keys(value).length === 0)
}

function unsupported(what: string, why: string, fix: string): UserError {
  return new UserError({ code: 'MODEL_UNSUPPORTED', what, why, fix })
}
