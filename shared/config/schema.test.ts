import { describe, expect, test } from 'vitest'
import { ClientConfig, clientConfigOf, clientCount, Config } from './schema.js'

describe('the resolved config', () => {
  test('has the documented default of every key', () => {
    expect(Config.parse({})).toEqual({
      model: { model_name_or_path: null, revision: 'main', precision: 'fp32', engine: 'onnx', threads: null },
      split: { topology: 'split', cut_layer: 2, tail_layers: 0 },
      lora: {
        r: 8,
        lora_alpha: 16,
        lora_dropout: 0,
        target_modules: null,
        use_rslora: false,
        init_lora_weights: true,
        rank_pattern: {},
        alpha_pattern: {},
        init_from: null,
      },
      data: {
        dataset: 'sotu',
        path: null,
        partition: null,
        alpha: 0.5,
        max_length: 256,
        completion_only_loss: true,
        eval_fraction: 0.1,
        eval_path: null,
        shuffle: true,
      },
      train: {
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 1,
        optim: 'adamw',
        learning_rate: 0.0005,
        lr_scheduler_type: 'constant',
        warmup_ratio: 0,
        weight_decay: 0.01,
        adam_beta1: 0.9,
        adam_beta2: 0.999,
        adam_epsilon: 1e-8,
        max_grad_norm: 1,
        label_smoothing_factor: 0,
        seed: 42,
        gradient_checkpointing: false,
        group_by_length: true,
      },
      federation: {
        num_rounds: 5,
        num_clients: 4,
        local_steps: 10,
        local_epochs: null,
        strategy: 'fedavg',
        strategy_options: {},
        top: 'joint',
        order: 'id',
        weight_by: 'examples',
        optimizer_state: 'average',
        fraction_train: 1,
        fraction_evaluate: 1,
        min_train_clients: 1,
        min_available_clients: 4,
        min_replies: 1,
        reconnect_s: 30,
        step_deadline_s: null,
        round_deadline_s: null,
        on_client_loss: 'continue',
      },
      privacy: {},
      transport: {
        kind: 'socket',
        activation_codec: 'fp32',
        gradient_codec: 'fp32',
        codec_loss_budget: 0.001,
        codec_cache_bytes: 268435456,
        max_chunk_bytes: 1048576,
        max_inflight_bytes: 268435456,
        tls: null,
        token_file: null,
      },
      output: { output_dir: 'runs', run_name: null, report_to: 'jsonl', save_total_limit: 2, save_best: true, logging_steps: 1 },
      eval: { every_rounds: 1, max_eval_batches: null },
    })
  })

  test('has a codec for every client where some are named', () => {
    const { transport } = Config.parse({
      transport: { activation_codec: { ada: 'auto' }, gradient_codec: { default: 'int8', ada: 'int4' } },
    })
    expect(transport.activation_codec).toEqual({ default: 'fp32', ada: 'auto' })
    expect(transport.gradient_codec).toEqual({ default: 'int8', ada: 'int4' })
    expect(Config.parse({ transport }).transport).toEqual(transport)
  })

  test('reads back as itself', () => {
    const config = Config.parse({ federation: { local_epochs: 1 }, data: { path: 'rows.jsonl' } })
    expect(Config.parse(config)).toEqual(config)
  })

  test('has no local steps where it has local epochs, and no data set where it has a path', () => {
    const config = Config.parse({ federation: { local_epochs: 2 }, data: { path: 'rows.jsonl' } })
    expect(config.federation.local_steps).toBeNull()
    expect(config.data.dataset).toBeNull()
  })

  test('waits for the one client that a centralized run has', () => {
    const config = Config.parse({ split: { topology: 'centralized' } })
    expect(clientCount(config)).toBe(1)
    expect(config.federation.min_available_clients).toBe(1)
  })
})

describe('rules between keys', () => {
  test.each([
    [{ federation: { local_steps: 1, local_epochs: 1 } }, 'federation.local_epochs'],
    [{ data: { dataset: 'sotu', path: 'rows.jsonl' } }, 'data.path'],
    [{ federation: { num_clients: 2, min_train_clients: 3 } }, 'federation.min_train_clients'],
    [{ federation: { num_clients: 2, min_available_clients: 3 } }, 'federation.min_available_clients'],
    [{ federation: { num_clients: 2, min_replies: 3 } }, 'federation.min_replies'],
    [{ federation: { strategy_options: { mu: 1 } } }, 'federation.strategy_options'],
    [{ split: { topology: 'local' }, federation: { strategy: './mine.js' } }, 'federation.strategy'],
    [{ transport: { max_inflight_bytes: 2048, max_chunk_bytes: 4096 } }, 'transport.max_inflight_bytes'],
  ])('refuse %j', (input, key) => {
    const { error } = Config.safeParse(input)
    expect(error?.issues.map((issue) => issue.path.join('.'))).toEqual([key])
  })
})

describe("a client's config", () => {
  test('passes its schema, and names a model folder without its path', () => {
    const sent = clientConfigOf(Config.parse({ model: { model_name_or_path: '/home/ada/models/gpt2/' } }))
    expect(ClientConfig.parse(sent)).toEqual(sent)
    expect(sent.model.model_name_or_path).toBe('gpt2')
  })

  test('holds no token file and no output folder', () => {
    const sent = JSON.stringify(
      clientConfigOf(Config.parse({ transport: { token_file: 'secret.txt' }, output: { output_dir: 'private' } })),
    )
    expect(sent).not.toMatch(/secret|private/)
  })
})
