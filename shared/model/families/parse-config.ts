/**
 * @file Reading config.json: what a family cannot honour is refused by the name of its key.
 */
import type { z } from 'zod'
import { UserError } from '../../errors.js'

/** The family in a refusal of one of its configurations. `why` names the key. */
export function refusedConfig(family: string, why: string): UserError {
  return new UserError({
    code: 'MODEL_UNSUPPORTED',
    what: `this ${family} configuration cannot be used`,
    why: `config.json, ${why}`,
    fix: 'use a model whose config.json has a supported value there',
  })
}

/** @throws UserError MODEL_UNSUPPORTED naming the first key that does not fit the schema. */
export function parseConfig<Schema extends z.ZodType>(family: string, schema: Schema, json: unknown): z.output<Schema> {
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw refusedConfig(family, `${issue.path.join('.') || 'top level'}: ${issue.message}`)
}
