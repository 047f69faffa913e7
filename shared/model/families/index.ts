/**
 * @file The families that models are recognised by.
 */
import { UserError } from '../../errors.js'
import type { Family } from './family.js'
import { gpt2 } from './gpt2.js'

export const families: readonly Family[] = [gpt2]

/** @throws UserError MODEL_UNSUPPORTED for a `model_type` that no family reads, MODEL_CORRUPT for a config.json without one. */
export function familyOf(config: unknown): Family {
  const type = typeof config === 'object' && config !== null && 'model_type' in config ? config.model_type : undefined
  if (typeof type !== 'string')
    throw new UserError({
      code: 'MODEL_CORRUPT',
      what: 'the model folder cannot be read',
      why: 'its config.json names no model_type',
      fix: 'use a folder that transformers wrote with save_pretrained',
    })
  const family = families.find(({ modelTypes }) => modelTypes.includes(type))
  if (!family)
    throw new UserError({
      code: 'MODEL_UNSUPPORTED',
      what: `models of type ${type} cannot be used`,
      why: `supported types are ${families.flatMap(({ modelTypes }) => modelTypes).join(', ')}`,
      fix: 'choose a model of a supported type',
    })
  return family
}
