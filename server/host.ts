/**
 * @file Hosts a run on this machine: opens the model, makes the run directory, starts the edge server, and ends it all in order.
 */
import type { Backend } from '../shared/backend/backend.js'
import type { WeightStore } from '../shared/backend/weights.js'
import { engineVersions, openBackend } from '../shared/backend/open.node.js'
import type { Config } from '../shared/config/schema.js'
import { isOwnModule } from '../shared/config/own-path.js'
import { UserError } from '../shared/errors.js'
import { fileLog } from '../shared/log.node.js'
import type { Log } from '../shared/log.js'
import type { Architecture } from '../shared/model/families/family.js'
import { checkConfigFits } from '../shared/model/fit.js'
import { weightsOfSides } from '../shared/model/loaded.js'
import type { HubEvent } from '../shared/model/hub/snapshot.node.js'
import { openModel, type ModelFolder } from '../shared/model/model.node.js'
import { serveModel } from '../shared/model/served.node.js'
import { startAdapter, unusedLoraKeys } from '../shared/model/warm-start.node.js'
import { digestOfFile } from '../shared/own-module.node.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import type { CodeFile, RunGroup, Summary } from '../shared/run-records.js'
import { compareCodeUnits } from '../shared/compare.js'
import { Checkpoints } from './checkpoint/checkpoints.js'
import { bothObservers, silentObserver, type Activity, type RunObserver } from './observer.js'
import type { EngineShare } from './engine-share.js'
import { RunRecorder, type RunRecord } from './recorder.js'
import { createRunDirectory, reopenRunDirectory, type RunDirectory, type RunFacts } from './run-directory.js'
import { checkSameModel, goOn } from './resume/go-on.js'
import type { InterruptedRun } from './resume/interrupted-run.js'
import { startServer, type StartedServer } from './start.js'
import { loadStrategy } from './strategy/own.js'
import type { TokenRule } from './tokens/rule.js'

export interface HostOptions {
  readonly config: Config
  readonly argv: readonly string[]
  readonly token: TokenRule
  /** Of a run that is one of several. */
  readonly group?: RunGroup | undefined
  /** How the engine's work is divided. */
  readonly share: (model: Architecture) => EngineShare
  /** Hears what is recorded too, for progress. */
  readonly watcher: RunObserver
  /** Ends the preparations, before there is a folder. */
  readonly signal?: AbortSignal | undefined
  /** Hears of a hub model's download. */
  readonly onDownload?: ((event: HubEvent) => void) | undefined
  /** Is told what the server and its engine do when. */
  readonly trace?: Trace | undefined
  /** Goes on with this run, whose config `config` is. It is closed with the run. */
  readonly resume?: InterruptedRun | undefined
  /** Looks at what else the run needs, once its model is open and before anything is written. */
  readonly check?: (model: ModelFolder) => Promise<void>
}

export interface HostedRun {
  readonly started: StartedServer
  readonly model: ModelFolder
  /** Prepared for both sides of the cut. */
  readonly weights: WeightStore
  readonly backend: Backend
  readonly directory: RunDirectory
  readonly record: RunRecord
  readonly checkpoints: Checkpoints
  /** Writes the summary and closes everything. Call once. */
  close(status: Summary['status'], error: UserError | null): Promise<void>
}

/**
 * @throws UserError whatever is wrong with the model, the cut or the target modules, and what `check` throws, before anything is written; then RUN_DIR_UNWRITABLE.
 * The signal's reason where it comes before the run's folder.
 */
export async function hostRun({
  config: asked,
  argv,
  token,
  group,
  share,
  watcher,
  onDownload,
  signal,
  trace = silentTrace,
  resume,
  check,
}: HostOptions): Promise<HostedRun> {
  const startedAt = new Date()
  const doing = (activity: Activity['doing']): void => watcher.activity({ doing: activity, round: 0, clients: [] })
  doing('opening')
  const hub = { signal, ...(onDownload ? { onEvent: onDownload } : {}) }
  const model = await openModel(asked.model.model_name_or_path, { revision: asked.model.revision, hub })
  // A branch may move on while the run goes on, a commit does not: clients and later commands are told that.
  const config = model.revision === null ? asked : { ...asked, model: { ...asked.model, revision: model.revision } }
  if (resume) checkSameModel(resume, model)
  // First, because target modules that are the folder's are not the config's mistake. A run that goes on has its adapter in its checkpoint.
  const start = resume?.checkpoint ? null : await startAdapter(config.lora, model)
  const { lora, cut } = checkConfigFits(config, model)
  const sides = weightsOfSides(model.definition, cut)
  signal?.throwIfAborted()
  doing('checking')
  const { strategy, file: strategyFile } = await loadStrategy(config.federation)
  await check?.(model)
  signal?.throwIfAborted()
  doing('preparing')
  // Clients on this machine find their blocks prepared.
  const names = [...new Set([...sides.top, ...sides.bottom])].sort(compareCodeUnits)
  const weights = await model.weights(names, { precision: config.model.precision, signal })
  signal?.throwIfAborted()
  const { topLanes, ...engine } = share(model.architecture)
  const backend = openBackend(config.model.engine, { ...engine, trace })
  const files: { close(): void }[] = []
  const closeFiles = (): void => files.forEach((file) => file.close())
  let made: RunDirectory | null = null
  try {
    const versions = engineVersions(backend.name)
    const code = await ownCode(config, strategyFile)
    const directory = resume
      ? reopenRunDirectory({ ...resume, config, trace, resumed: { argv, versions } })
      : createRunDirectory({
          outputDir: config.output.output_dir,
          name: config.output.run_name ?? 'run',
          config,
          trace,
          metadata: {
            argv,
            ...(group ? { group } : {}),
            ...code,
            versions,
            model: {
              name: model.name,
              digest: model.digest.model,
              family: model.definition.family.name,
              layers: model.architecture.layers,
              hidden_size: model.architecture.hiddenSize,
              parameters: model.parameters,
            },
          },
        })
    files.push(directory)
    if (!resume) made = directory
    const log = fileLog(directory.logFile('server'))
    files.push(log)
    log.info({ model: model.name, digest: model.digest.model }, 'dropout of the frozen base model is not applied')
    const recorder = new RunRecorder({
      directory,
      config,
      lora: lora.config,
      model: { name: model.name, revision: model.revision, digest: model.digest.model },
      begunAt: resume && directory.created,
      trace,
    })
    const checkpoints = new Checkpoints({
      directory,
      limit: config.output.save_total_limit,
      modelDigest: model.digest.model,
      strategy: strategy.name,
      record: () => recorder.saved(),
      trace,
    })
    const observer = bothObservers(recorder, bothObservers(logged(log), watcher))
    doing('compiling')
    for (const reason of unusedLoraKeys(config.lora, lora)) observer.event({ event: 'warning', reason })
    const from = resume && (await goOn(resume, { config, ...code }, { recorder, checkpoints, observer }))
    const started = await startServer({
      config,
      resume: from,
      checkpoints,
      run: `${directory.name}_${directory.id}`,
      model,
      weights,
      files: serveModel(model, async () => (config.model.precision === 'fp32' ? weights : model.weights(names))),
      backend,
      topLanes,
      observer,
      token,
      strategy,
      trace,
      ...(start ? { start } : {}),
    })
    return {
      started,
      model,
      weights,
      backend,
      directory,
      checkpoints,
      get record() {
        return recorder.record
      },
      async close(status, error) {
        // What the user's own code threw, with its stack.
        if (error?.code === 'BAD_STRATEGY') log.error({ ...error.report(), cause: stackOf(error.cause) }, 'the strategy failed')
        try {
          // First, because an engine in the middle of a large product may not come to rest in time.
          await recorder.finish(status, startedAt, error)
          await started.dispose()
          await backend.dispose()
        } finally {
          closeFiles()
        }
      },
    }
  } catch (error) {
    closeFiles()
    // Nobody has seen it yet, and nothing has run.
    made?.remove()
    await backend.dispose()
    throw error
  }
}

/**
 * Does a run's work, then closes it and notes how it ended.
 * @throws what the work threw.
 */
export async function concludeRun(hosted: HostedRun, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    // What closing complains of then is a consequence; the cause is what to tell.
    await hosted.close('failed', error instanceof UserError ? error : null).catch(() => {})
    throw error
  }
  await hosted.close(signal?.aborted ? 'interrupted' : 'complete', null)
}

/** Resolves once the signal aborts, also if it did before. */
export function whenAborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve()
    else signal?.addEventListener('abort', () => resolve(), { once: true })
  })
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
}

/** Which files of code the run uses, so that runs can be told apart by it. */
async function ownCode({ data }: Config, strategy: CodeFile | null): Promise<Pick<RunFacts['metadata'], 'code'>> {
  const dataset = isOwnModule(data.dataset) ? { path: data.dataset, sha256: await digestOfFile(data.dataset) } : null
  if (strategy === null && dataset === null) return {}
  return { code: { ...(strategy ? { strategy } : {}), ...(dataset ? { dataset } : {}) } }
}

/** Events and rounds as lines of the server's log. */
function logged(log: Log): RunObserver {
  return {
    ...silentObserver,
    event: (event) => log.info(event, 'event'),
    round: ({ round, train_loss, eval_loss, seconds }) => log.info({ round, train_loss, eval_loss, seconds }, 'round over'),
  }
}
