import { expect, test } from 'vitest'
import { chatTemplateOf } from './chat-template.js'

const config = { chat_template: 'from the config', eos_token: '</s>', bos_token: { content: '<s>', lstrip: false } }

test('the template comes from its own file first, then from the tokenizer config, with the special tokens it may name', () => {
  expect(chatTemplateOf({ config, specialTokens: { pad_token: '<pad>', eos_token: 'other' } })).toEqual({
    template: 'from the config',
    specialTokens: { eos_token: '</s>', bos_token: '<s>', pad_token: '<pad>' },
  })
  expect(chatTemplateOf({ config, chatTemplate: 'from the file' })?.template).toBe('from the file')
})

test('of several templates the one called default counts', () => {
  const several = [
    { name: 'tool_use', template: 't' },
    { name: 'default', template: 'd' },
  ]
  expect(chatTemplateOf({ config: { chat_template: several } })?.template).toBe('d')
  expect(chatTemplateOf({ config: { chat_template: several.slice(0, 1) } })).toBeNull()
})

test.each([[{}], [{ config: { chat_template: null } }], [{ config: 5 }], [{ chatTemplate: '' }]])('%j holds none', (files) => {
  expect(chatTemplateOf(files)).toBeNull()
})
