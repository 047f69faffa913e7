/**
 * @file The chat template that a tokenizer's files hold: Jinja text, and the names that it may use for special tokens.
 */
import { z } from 'zod'

export interface ChatTemplate {
  /** Jinja, as transformers renders it. */
  readonly template: string
  /** As `bos_token` and `eos_token`, with what they stand for. */
  readonly specialTokens: Readonly<Record<string, string>>
}

const Template = z.string().min(1)
const Templates = z.array(z.looseObject({ name: z.string(), template: Template }))
const TokenName = z.union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
const SPECIAL_TOKENS = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const

/** The files of a tokenizer that say something about chats, parsed; any may be missing. */
export interface ChatFiles {
  /** chat_template.jinja, as text: what transformers writes since 4.50, and reads first. */
  readonly chatTemplate?: unknown
  /** tokenizer_config.json, whose `chat_template` is a template, or a list of named ones of which `default` counts. */
  readonly config?: unknown
  /** special_tokens_map.json */
  readonly specialTokens?: unknown
}

/** null where the files hold no template. */
export function chatTemplateOf({ chatTemplate, config, specialTokens }: ChatFiles): ChatTemplate | null {
  const template = asTemplate(chatTemplate) ?? asTemplate(fields(config).chat_template)
  if (template === null) return null
  const named = SPECIAL_TOKENS.flatMap((name) => {
    const token = TokenName.safeParse(fields(config)[name] ?? fields(specialTokens)[name])
    return token.success ? [[name, token.data] as const] : []
  })
  return { template, specialTokens: Object.fromEntries(named) }
}

function asTemplate(value: unknown): string | null {
  const alone = Template.safeParse(value)
  if (alone.success) return alone.data
  const several = Templates.safeParse(value)
  return (several.success && several.data.find(({ name }) => name === 'default')?.template) || null
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
