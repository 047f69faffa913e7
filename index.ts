/**
 * @file The library: what programs may import from `cutlayer`. Everything else may change without notice.
 */

// ---- a whole experiment

/** Reads a YAML or JSON config, with overrides such as `train.learning_rate=1e-3`. */
export { loadConfig } from './shared/config/load.node.js'
/** The same from an object, such as `{train: {learning_rate: 1e-3}}`: every key is resolved, and what is wrong is a UserError that names it. */
export { parseConfig } from './shared/config/parse.js'
export type { ClientConfig, Config } from './shared/config/schema.js'
/** Starts a server and its clients, trains, and leaves a run directory. What `cutlayer run` does. */
export { runExperiment, type ExperimentOptions } from './experiments/experiment.js'
export type { RunResult } from './server/run-summary.js'
/** A run that was interrupted, to go on with it: for `runExperiment` and `EdgeServer`. What `--resume` opens. */
export { openInterruptedRun, type InterruptedRun } from './server/resume/interrupted-run.js'
/** A run for each seed of a config, and the mean and deviation of what they brought. */
export { loadConfigSeries } from './shared/config/load.node.js'
export { parseConfigSeries, type ConfigSeries } from './shared/config/seeds.js'
export { runSeries, type SeedRun, type SeriesOptions, type SeriesResult } from './experiments/seeds/series.js'
/** Loss and perplexity over a file of rows. What `cutlayer eval` does. */
export { evaluateFile, type EvaluationOptions, type EvaluationResult } from './experiments/eval.js'

// ---- its two sides, over sockets

/** A server that clients join, here or elsewhere. What `cutlayer server` does. */
export { EdgeServer, type EdgeServerOptions } from './experiments/library/edge-server.js'
/** A client of a server, with rows of its own. What `cutlayer client` does. */
export { Client, type ClientOptions } from './experiments/library/client.js'
/** Hears what happens in a run: rounds, steps, traffic, and the adapter after each round. */
export { silentObserver, type Activity, type RunObserver, type Work } from './server/observer.js'
/** Hears what a client does. */
export type { TrainerEvent } from './client/trainer.js'
export type { RoundLine, RunEvent, StepLine, TrafficLine } from './shared/run-records.js'

// ---- what a user may bring along

/** The default export of a file that `federation.strategy` names. It gives types and nothing else: a plain object does as well. */
export { defineStrategy, type OwnStrategy, type StrategyDefinition } from './server/strategy/define.js'
export type { AdapterReply, Aggregated, AggregationContext, Strategy } from './server/strategy/strategy.js'
export { weightedMean } from './server/strategy/mean.js'
/** A row, as a file that `data.dataset` names gives it; and units that make their own tokens. */
export type { RowObject } from './datasets/row-forms.js'
export type { DataSource, DataUnit, Tokenised, TokeniseOptions } from './datasets/source.js'
export type { Tokenizer } from './shared/model/tokenizer.js'
export type { Random } from './shared/random.js'
export type { OptimizerState } from './shared/train/optimizer.js'

// ---- its parts

/** The rounds of a run, which trains the top blocks and averages the clients' adapters: given links, it opens no socket and no file. */
export { startServer, type ServerSetup, type StartedServer } from './server/start.js'
/** One client of a run: trains its blocks on its rows until the server says that it is over. */
export { helloOf, joinRun, memoryMoments, type ClientModel, type JoinOptions } from './client/join.js'
export { dataFromRows, type ClientData } from './client/data.js'
export type { MomentsStore } from './client/round.js'
/** Rows of a data set by client, tokenised and with some held out. */
export { loadClientRows, type DataReport, type LoadOptions } from './datasets/load.js'
export type { ClientRows, TokenRow } from './shared/train/rows.js'

/** Links between clients and server: over sockets (`listen` and `connect`), or inside one process. Same messages, same numbers. */
export { listen, type Listening, type ListenOptions } from './server/socket.js'
export { connect, type ConnectOptions } from './client/socket.js'
export { memoryLinkPair, type MemoryLinkPair } from './shared/protocol/memory-link.js'
export type { ClientLink, Link, ServerLink, Traffic } from './shared/protocol/link.js'
/** How tensors travel: pairs of pure functions, each with its error bound. */
export { decodeTensor, encodeTensor, openCodec, type NamedCodec } from './shared/protocol/codec/index.js'
export type { Codec, CodecContext } from './shared/protocol/codec/codec.js'

/** A model folder in Hugging Face form; null: the model that is shipped with cutlayer. */
export { openModel, type ModelFolder } from './shared/model/model.node.js'
/** Which weights each side of a cut needs. */
export { weightsOfSides } from './shared/model/loaded.js'
/** The engines by name: `onnx`, `reference`. */
export { openBackend, type EngineOptions } from './shared/backend/open.node.js'
export type { Backend } from './shared/backend/backend.js'
export type { WeightStore } from './shared/backend/weights.js'
/** Adapters in PEFT form. */
export { readPeftAdapter, writePeftAdapter, type PeftAdapter, type PeftAdapterToWrite } from './shared/model/peft.node.js'
export { f32, type F32Tensor, type NamedTensors } from './shared/tensor.js'

/** What a person can put right: {code, what, why, fix}. */
export { ERROR_CODES, UserError, type ErrorCode, type ErrorReport } from './shared/errors.js'
