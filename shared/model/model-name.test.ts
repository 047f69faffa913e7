import { expect, test } from 'vitest'
import { publicModelName } from './model-name.js'

test.each([
  ['/home/ada/models/tiny-gpt2', 'tiny-gpt2', null],
  ['/home/ada/models/tiny-gpt2/', 'tiny-gpt2', null],
  ['C:\\models\\tiny-gpt2', 'tiny-gpt2', null],
  [`/hf/hub/models--openai-community--gpt2/snapshots/${'a1'.repeat(20)}`, 'openai-community/gpt2', 'a1'.repeat(20)],
  ['/', 'model', null],
])('%s is called %s', (folder, baseModel, revision) => {
  expect(publicModelName(folder)).toEqual({ baseModel, revision })
})
