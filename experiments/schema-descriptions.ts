/**
 * @file What each config key is for, in a clause: the descriptions of the JSON Schema, which editors show.
 *
 * The type is the checklist: a key that the config has and this table lacks does not compile.
 */
import type { z } from 'zod'
import type { ConfigGroups } from '../shared/config/schema.js'

type Groups = z.input<typeof ConfigGroups>
type Descriptions = { readonly [Group in keyof Groups]-?: { readonly [Key in keyof NonNullable<Groups[Group]>]-?: string } }

export const GROUP_DESCRIPTIONS: { readonly [Group in keyof Groups]-?: string } = {
  model: 'The base model, and what computes with it.',
  split: 'Where the model is cut between client and server.',
  lora: 'The adapter, with the names that PEFT gives its settings.',
  data: 'The rows, and how they are dealt to clients.',
  train: 'One local step, with the names that transformers gives its settings.',
  federation: 'Rounds, clients, and how their adapters become one.',
  privacy: 'Nothing yet.',
  transport: 'How messages cross the network.',
  output: 'What a run leaves, and where.',
  eval: 'When the held-out rows are evaluated.',
}

export const KEY_DESCRIPTIONS: Descriptions = {
  model: {
    model_name_or_path:
      'A folder in Hugging Face form, or the id of a model on the hub, such as org/name; null: the model that is shipped with cutlayer.',
    revision: 'Branch, tag or commit of a model on the hub. In the config of a run: the commit that it used.',
    precision: 'Of the frozen weights: fp32, or q8 for matrices in 8-bit blocks, which are faster and smaller.',
    engine: 'What computes; tfjs is TensorFlow.js, reference is exact and slow.',
    threads: 'Threads of each process; null: cores divided by the processes on this machine.',
  },
  split: {
    topology:
      'split: clients run the first blocks; federated: they run the whole model and only adapters travel; centralized: one client has all data and runs the whole model; local: every client trains the whole model alone, and nothing is averaged.',
    cut_layer: "Number of client blocks, from 0 (which hides nothing) to the model's layers.",
    tail_layers: 'Last blocks that run on the client too.',
  },
  lora: {
    r: 'Rank of the adapter.',
    lora_alpha: 'The adapter is scaled by lora_alpha / r.',
    lora_dropout: "Share of an adapter's inputs that training drops.",
    target_modules:
      "Names of the linear layers to adapt, a Python regular expression for their whole paths, or all-linear; null: PEFT's default for the model family.",
    use_rslora: 'Scale by lora_alpha / sqrt(r) instead.',
    init_lora_weights: 'true: A Kaiming-uniform and B zero; gaussian: A normal with deviation 1/r and B zero.',
    rank_pattern: 'Ranks of single layers, by names or regular expressions for their paths; the first that matches counts.',
    alpha_pattern: 'Alphas of single layers, in the same way.',
    init_from:
      'A PEFT folder or the hub id of an adapter to start from; ranks, alphas, target_modules and use_rslora are its own unless given, and then must be the same.',
  },
  data: {
    dataset: 'A data set by name, or a file of your own such as ./my-dataset.js; null: sotu, unless path is given.',
    path: 'A file of rows, in place of dataset.',
    partition: 'How rows are dealt to clients; null: natural for sotu and for rows that name their client, else iid.',
    alpha: 'Shape of the dirichlet partition: the smaller, the less alike are the clients.',
    max_length: 'Tokens of a row; longer rows are cut at the end.',
    completion_only_loss: 'Whether the prompt of a prompt/completion row is left out of the loss.',
    eval_fraction: "Share of each client's rows that is held out for evaluation.",
    eval_path: 'A file of held-out rows; nothing is then taken from the training rows.',
    shuffle: 'false: rows come in file order.',
  },
  train: {
    per_device_train_batch_size: 'Rows of a micro-batch.',
    gradient_accumulation_steps: 'Micro-batches of a local step.',
    optim: 'The optimizer of clients and server.',
    learning_rate: 'The highest rate of the schedule.',
    lr_scheduler_type: 'How the rate falls after the warm-up.',
    warmup_ratio: 'Share of all steps in which the rate rises from 0.',
    weight_decay: 'Decoupled, as in AdamW.',
    adam_beta1: 'Decay of the first moment.',
    adam_beta2: 'Decay of the second moment.',
    adam_epsilon: 'Added to the root of the second moment.',
    max_grad_norm: 'Each side clips its gradients by its own norm; 0: off.',
    label_smoothing_factor: 'Share of the target that is spread over the vocabulary.',
    seed: 'Of every random choice. A list: one run for each, with mean and deviation.',
    gradient_checkpointing: 'Recompute what the backward pass needs instead of keeping it.',
    group_by_length: 'Put rows of like length into one batch.',
  },
  federation: {
    num_rounds: 'Rounds of the run.',
    num_clients: 'Clients of the run.',
    local_steps: "A client's steps in a round; 10 unless local_epochs is given.",
    local_epochs: "A client's passes over its rows in a round, in place of local_steps.",
    strategy: "How the clients' adapters become one: a name, or a file of your own such as ./my-strategy.js.",
    strategy_options: 'Settings of a strategy of your own.',
    top: "How the server's blocks learn from many clients: one step for all, one for each in turn, or a copy for each.",
    order: 'In which order a sequential top takes the clients.',
    weight_by: "What a client's adapter weighs in the mean.",
    optimizer_state: "What becomes of the clients' moments at a round's end.",
    fraction_train: 'Share of the clients that train in a round.',
    fraction_evaluate: 'Share of the clients that evaluate.',
    min_train_clients: 'A round needs so many clients to train.',
    min_available_clients: 'A round waits for so many clients to be connected; null: all.',
    min_replies: 'A step or round that got fewer replies fails.',
    reconnect_s: 'Seconds that a client may be silent before it is lost.',
    step_deadline_s: 'Seconds that a step waits for its clients; null: no limit.',
    round_deadline_s: 'Seconds that a round may take; null: no limit.',
    on_client_loss:
      'What a round does that lost a client: it goes on without it (continue), or starts again with it once it is back (restart_round), and the run fails if it stays away for reconnect_s. A run with restart_round has the numbers of one in which nobody was lost.',
  },
  privacy: {},
  transport: {
    kind: 'socket: clients are processes; memory: everything runs in one.',
    activation_codec: "How activations are packed: a codec for all clients, auto (by each client's measured link), or these by client id.",
    gradient_codec: 'How gradients are packed: as activation_codec.',
    codec_loss_budget: 'The relative increase of the loss that auto may cost; its safest codec is allowed whatever it says.',
    codec_cache_bytes: 'What codecs that remember rows may hold of each client in each direction, on each end.',
    max_chunk_bytes: 'Larger messages go in chunks of this size.',
    max_inflight_bytes:
      'The largest message, and how much of the activations of all clients together, as float32, the server has at a time: the rest waits at the clients.',
    tls: 'PEM files of the certificate and private key of `cutlayer server`: {cert, key}; null: connections are not encrypted. `run` has no use for it: it talks to its own clients on this machine.',
    token_file:
      'A file with the token that all clients must show, or one of `cutlayer token create`, by which each has its own. `run` gives its clients a token of its own.',
  },
  output: {
    output_dir: 'The folder of runs.',
    run_name: "Names the run's folder; null: as the config file.",
    report_to: 'What metrics are written as.',
    save_total_limit: 'How many checkpoints are kept: one is written at the end of each round, for `--resume`.',
    save_best: "Keep the best round's adapter beside the last.",
    logging_steps: 'Tell every so many steps.',
  },
  eval: {
    every_rounds: 'Evaluate after every so many rounds.',
    max_eval_batches: 'Batches of each client; null: all of its held-out rows.',
  },
}
