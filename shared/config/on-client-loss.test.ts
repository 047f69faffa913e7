import { describe, expect, test } from 'vitest'
import { parseConfig } from './parse.js'

describe('federation.on_client_loss: restart_round', () => {
  test.each([
    ['activation_codec', 'delta+int8', 'delta+int8'],
    ['activation_codec', 'auto', 'auto'],
    ['gradient_codec', 'feedback+int4', 'feedback+int4'],
    ['activation_codec', { default: 'int8', ada: 'lowrank+int8' }, 'lowrank+int8'],
  ])('is refused with transport.%s %j, whose numbers depend on what crossed before', (key, codec, named) => {
    const config = { federation: { on_client_loss: 'restart_round' }, transport: { [key]: codec } }
    expect(() => parseConfig(config)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_VALUE',
        what: expect.stringContaining(`transport.${key}`) as string,
        why: expect.stringContaining(named) as string,
      }) as Error,
    )
    // Neither is wrong by itself, and where no tensor of the cut crosses the codec is nobody's.
    expect(parseConfig({ ...config, federation: {} }).federation.on_client_loss).toBe('continue')
    expect(parseConfig({ ...config, split: { topology: 'federated' } }).federation.on_client_loss).toBe('restart_round')
  })

  test.each(['fp32', 'fp16', 'int8', 'int4:outliers=4+zstd', 'topk+int8'])('goes with %s, which remembers nothing', (codec) => {
    const config = parseConfig({ federation: { on_client_loss: 'restart_round' }, transport: { activation_codec: codec } })
    expect(config.federation.on_client_loss).toBe('restart_round')
  })
})
