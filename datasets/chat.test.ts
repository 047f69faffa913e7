import { describe, expect, test } from 'vitest'
import { tinyTokenizer, tinyTokenizerFiles } from '../shared/model/testing/tokenizer.js'
import { createTokenizer, type Tokenizer } from '../shared/model/tokenizer.js'
import type { ChatMessage } from './chat.js'
import { tokeniseRow } from './tokenise.js'

const { tokenizer: json, config } = tinyTokenizerFiles()
const EOS = 267
const withTemplate = (chatTemplate: string): Tokenizer => createTokenizer({ tokenizer: json, config, chatTemplate }, 'chatty')
const say = (...turns: readonly (readonly [string, string])[]): ChatMessage[] => turns.map(([role, content]) => ({ role, content }))
const tokenise = (tokenizer: Tokenizer, messages: readonly ChatMessage[], maxLength = 256) =>
  tokeniseRow({ kind: 'messages', messages, place: 'rows.jsonl, line 3' }, tokenizer, { maxLength, completionOnlyLoss: true })
const plain = (tokenizer: Tokenizer, messages: readonly ChatMessage[]): unknown =>
  tokenise(tokenizer, messages).rows.map(({ ids, scored }) => ({ ids: [...ids], scored: [...scored] }))
/** `length` flags, 1 from the first to before the second of each pair. */
const flags = (length: number, ...spans: readonly (readonly [number, number])[]): number[] => {
  const scored = Array<number>(length).fill(0)
  for (const [start, end] of spans) scored.fill(1, start, end)
  return scored
}

const CONVERSATION = say(['system', 'an é'], ['user', 'the state?'], ['assistant', ' stand — than '], ['user', 'in'], ['assistant', 'thé'])
const BLOCKS = `{% for message in messages %}
{% if message['role'] == 'assistant' %}
{{ 'A: ' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}
{% else %}
{{ message['role'] + ': ' + message['content'] + '\\n' }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}`
const STRIPPING_BLOCKS = `{{ bos_token }}{%- for message in messages -%}
  {%- if message['role'] == 'assistant' -%}
    A:
    {%- generation -%}
      {{ ' ' + message['content'] | trim }}
    {%- endgeneration -%}
    {{ '!' }}
  {%- else -%}
    {{ message['content'] }}
  {%- endif -%}
{%- endfor -%}`
const NO_BLOCKS =
  "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"

// Ids and masks: Python, transformers 5.23.0 with tokenizers 0.23.3 on the same tokenizer.json but for "trim_offsets": false (with true
// it drops the mask of a turn that begins with a space), apply_chat_template(..., return_assistant_tokens_mask=True).
describe('a conversation has the ids and the scored tokens that transformers gives', () => {
  test('for {% generation %} blocks', () => {
    const ids = [
      ...[115, 121, 115, 116, 101, 109, 58, 32, 259, 32, 266, 10, 10, 117, 115, 263, 58, 258, 265, 116, 101, 63, 10, 10, 65, 58, 32],
      ...[264, 259, 100, 32, 226, 128, 148, 257, 259, 32, 267, 10, 10, 117, 115, 263, 58, 32, 261, 10, 10, 65, 58, 257, 266, 267, 10, 10],
    ]
    // The last turn's mask begins with the token of " th", whose "th" is the assistant's.
    expect(plain(withTemplate(BLOCKS), CONVERSATION)).toEqual([{ ids, scored: flags(ids.length, [27, 38], [50, 53]) }])
  })

  test('for blocks that strip the white space around them; the eos that the template leaves out is added and scored', () => {
    const ids = [
      ...[267, 259, 32, 266, 256, 101, 265, 116, 101, 63, 65, 58, 264, 259, 100, 32, 226, 128, 148, 257, 259, 33],
      ...[261, 65, 58, 257, 266, 33],
    ]
    const [row] = tokenise(withTemplate(STRIPPING_BLOCKS), CONVERSATION).rows
    expect([...row.ids]).toEqual([...ids, EOS])
    expect([...row.scored]).toEqual([...flags(ids.length, [12, 21], [25, 27]), 1])
    // " stand — than" and " thé".
    expect(row.bytes).toBe(15 + 5)
  })

  test('for a template without blocks, by what each answer adds to the prompt for it', () => {
    // Turns: ids of messages[:k] with add_generation_prompt=True, up to those of messages[:k + 1].
    const ids = [
      ...[60, 115, 121, 115, 116, 101, 109, 62, 259, 32, 266, 60, 117, 115, 263, 62, 256, 101, 265, 116, 101, 63],
      ...[60, 97, 115, 115, 105, 115, 116, 259, 116, 62, 264, 259, 100, 32, 226, 128, 148, 257, 259, 32, 267],
      ...[60, 117, 115, 263, 62, 261, 60, 97, 115, 115, 105, 115, 116, 259, 116, 62, 256, 266, 267],
    ]
    expect(plain(withTemplate(NO_BLOCKS), CONVERSATION)).toEqual([{ ids, scored: flags(ids.length, [32, 43], [59, 62]) }])
  })
})

test('a tokenizer that is not byte-level gives the same, as long as answers begin and end with a token', () => {
  const fused = createTokenizer(
    { tokenizer: { ...json, decoder: { type: 'Sequence', decoders: [{ type: 'ByteLevel' }] } }, config, chatTemplate: NO_BLOCKS },
    'fused',
  )
  expect(plain(fused, CONVERSATION)).toEqual(plain(withTemplate(NO_BLOCKS), CONVERSATION))
  // " th" is one token, and the assistant says "th" only.
  const torn = { ...fused, chat: { template: "{{ ' ' }}{% generation %}{{ messages[0].content }}{% endgeneration %}", specialTokens: {} } }
  expect(() => tokenise(torn, say(['assistant', 'th']))).toThrow(
    expect.objectContaining({ code: 'DATA_ROW_INVALID', why: expect.stringContaining('one token spans') as string }) as Error,
  )
})

describe('eos', () => {
  test('is not added after a template that ends with it and a line end, as ChatML does', () => {
    const chatml = withTemplate("{% for m in messages %}{{ m.role + m.content + eos_token + '\\n' }}{% endfor %}")
    const [row] = tokenise(chatml, say(['user', 'a'], ['assistant', 'b'])).rows
    expect([...row.ids].slice(-3)).toEqual([98, EOS, 10])
  })

  test("is added, but not scored, after a turn that is not the assistant's", () => {
    const [row] = tokenise(withTemplate(NO_BLOCKS), say(['user', 'a'], ['assistant', 'b'], ['user', 'c'])).rows
    expect([row.ids.at(-1), row.scored.at(-1)]).toEqual([EOS, 0])
  })
})

test('a long conversation is cut at the end, and dropped if no answer is left', () => {
  expect(tokenise(withTemplate(NO_BLOCKS), CONVERSATION, 40)).toMatchObject({
    truncated: 1,
    dropped: 0,
    rows: [{ scored: { length: 40 } }],
  })
  expect(tokenise(withTemplate(NO_BLOCKS), CONVERSATION, 32)).toEqual({ rows: [], truncated: 1, dropped: 1 })
})

describe('refused, with file and line, is', () => {
  const refusal = (why: string): Error =>
    expect.objectContaining({
      code: 'DATA_ROW_INVALID',
      what: expect.stringContaining('rows.jsonl, line 3') as string,
      why: expect.stringContaining(why) as string,
    }) as Error

  test('a conversation that the template itself refuses', () => {
    const strict = withTemplate("{% if messages[0].role != 'user' %}{{ raise_exception('system comes first') }}{% endif %}")
    expect(() => tokenise(strict, CONVERSATION)).toThrow(refusal('system comes first'))
  })

  test("one of which the template writes earlier turns otherwise later, without saying which are the assistant's", () => {
    const last = withTemplate('{% for m in messages %}{{ m.role if loop.last else m.role | upper }}{{ m.content }}{% endfor %}')
    expect(() => tokenise(last, CONVERSATION)).toThrow(refusal('answer of message 3'))
  })

  test('one whose template shows nothing that the assistant says', () => {
    const mute = withTemplate("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}")
    expect(() => tokenise(mute, CONVERSATION)).toThrow(refusal('nothing that the assistant says'))
  })
})

test('a chat template that is not Jinja is refused', () => {
  expect(() => tokenise(withTemplate('{% for %}'), CONVERSATION)).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }) as Error)
})

test('a conversation for a tokenizer without a chat template', () => {
  expect(() => tokenise(tinyTokenizer(), CONVERSATION)).toThrow(
    expect.objectContaining({ code: 'TOKENIZER_MISSING', why: expect.stringContaining('no chat template') as string }) as Error,
  )
})
