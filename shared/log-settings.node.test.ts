import { expect, test } from 'vitest'
import { DEFAULT_ROTATION, logSettings } from './log-settings.node.js'

test('the environment may say nothing, and then logs are kept within 50 MB', () => {
  expect(logSettings({ CUTLAYER_LOG: '', CUTLAYER_LOG_FILES: '' })).toEqual({ level: null, rotation: DEFAULT_ROTATION, format: 'text' })
  expect(DEFAULT_ROTATION.maxBytes * DEFAULT_ROTATION.files).toBe(50_000_000)
})

test('it says the level, how much is kept, and in which form lines go to stderr', () => {
  const environment = { CUTLAYER_LOG: 'debug', CUTLAYER_LOG_MAX_BYTES: '4096', CUTLAYER_LOG_FILES: '1', CUTLAYER_LOG_FORMAT: 'json' }
  expect(logSettings(environment)).toEqual({ level: 'debug', rotation: { maxBytes: 4096, files: 1 }, format: 'json' })
})

test.each([
  ['CUTLAYER_LOG', 'verbose'],
  ['CUTLAYER_LOG_MAX_BYTES', '4095'],
  ['CUTLAYER_LOG_MAX_BYTES', '10MB'],
  ['CUTLAYER_LOG_MAX_BYTES', '-1'],
  ['CUTLAYER_LOG_MAX_BYTES', '9007199254740993'],
  ['CUTLAYER_LOG_FILES', '0'],
  ['CUTLAYER_LOG_FILES', '1001'],
  ['CUTLAYER_LOG_FILES', '2.5'],
  ['CUTLAYER_LOG_FORMAT', 'xml'],
])('%s=%s is refused by name', (name, value) => {
  expect(() => logSettings({ [name]: value })).toThrow(
    expect.objectContaining({ code: 'BAD_ARGUMENT', why: expect.stringContaining(`${name} says "${value}"`) as string }) as Error,
  )
})
