import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../shared/config/parse.js'
import type { Config } from '../../shared/config/schema.js'
import { configToGoOnWith } from './config.js'

type Groups = Readonly<Record<string, Readonly<Record<string, unknown>>>>
const config = (groups: Groups = {}): Config => parseConfig(groups)

describe('a run goes on with another config', () => {
  test.each<[string, Groups]>([
    ['the same', {}],
    ['where its output goes', { output: { output_dir: 'elsewhere', run_name: 'x', save_total_limit: 5, logging_steps: 3 } }],
    ['how its messages travel', { transport: { kind: 'memory', max_chunk_bytes: 2048, max_inflight_bytes: 4096, token_file: 'token' } }],
    ['how long it waits', { federation: { reconnect_s: 5, step_deadline_s: 1, round_deadline_s: 9, on_client_loss: 'restart_round' } }],
    ['where the model lies', { model: { model_name_or_path: 'moved/model', revision: 'abc' } }],
    ['more rounds', { federation: { num_rounds: 50 } }],
  ])('that differs in %s', (_, groups) => {
    const own = config()
    const { output, ...others } = configToGoOnWith(own, config(groups))
    const { output: asked, ...askedOthers } = config(groups)
    expect(others).toEqual(askedOthers)
    // Its folder is where it is.
    expect(output).toEqual({ ...asked, output_dir: own.output.output_dir, run_name: own.output.run_name })
  })

  test.each<[string, Groups]>([
    ['train.learning_rate', { train: { learning_rate: 0.1 } }],
    ['train.seed', { train: { seed: 1 } }],
    ['model.threads', { model: { threads: 2 } }],
    ['model.engine', { model: { engine: 'reference' } }],
    ['federation.num_clients', { federation: { num_clients: 5 } }],
    ['federation.num_rounds', { federation: { num_rounds: 2 } }],
    ['federation.strategy_options', { federation: { strategy: './a.js', strategy_options: { a: 1 } } }],
    ['data.path', { data: { path: 'other.jsonl' } }],
    ['lora.rank_pattern', { lora: { rank_pattern: { c_attn: 2 } } }],
    ['transport.activation_codec', { transport: { activation_codec: 'int8' } }],
    ['transport.activation_codec', { transport: { activation_codec: { 'client-0': 'int8' } } }],
    ['eval.every_rounds', { eval: { every_rounds: 2 } }],
  ])('but not with one that differs in %s, which the error names', (key, groups) => {
    expect(() => configToGoOnWith(config(), config(groups))).toThrow(
      expect.objectContaining({ code: 'RESUME_DIFFERS', why: expect.stringContaining(key) as string }) as Error,
    )
  })

  test('of which one error names all keys that differ, with both values', () => {
    const other = config({ train: { seed: 1 }, eval: { every_rounds: 2 } })
    expect(() => configToGoOnWith(config(), other)).toThrow(/train\.seed is 1 now, and was 42; eval\.every_rounds is 2 now, and was 1$/)
  })

  test('whatever the order of the keys in a mapping', () => {
    const one = config({ lora: { rank_pattern: { a: 1, b: 2 } } })
    expect(configToGoOnWith(one, config({ lora: { rank_pattern: { b: 2, a: 1 } } })).lora.rank_pattern).toEqual({ a: 1, b: 2 })
  })
})
