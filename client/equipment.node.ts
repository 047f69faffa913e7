/**
 * @file What a client works with, found from the server's welcome: the base model, and its rows.
 */
import { resolve } from 'node:path'
import { isOwnModule } from '../shared/config/own-path.js'
import type { ClientConfig } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { checkRowsFit } from '../shared/model/fit.js'
import type { HubAccess } from '../shared/model/hub/snapshot.node.js'
import { cutOfRun, weightsOfSides, type LoadedModel } from '../shared/model/loaded.js'
import { isOnHub } from '../shared/model/model-source.node.js'
import { openModel, type ModelFolder, type ModelShare } from '../shared/model/model.node.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import type { MessageOf, Part } from '../shared/protocol/messages.js'
import type { ClientRows } from '../shared/train/rows.js'
import { dataFromRows, type ClientData } from './data.js'
import type { FetchProgress } from './fetch-files.node.js'
import { digestOfCard, fetchModel } from './fetched-model.node.js'
import type { FileSource } from './file-requests.js'

/**
 * The model that this client was given, a folder or a hub id, of which only its side of the cut is read and downloaded; without one the shipped
 * model, if it is the server's, else what the cache has of it, and the rest from the server.
 * A path that the server names is never opened.
 * @throws UserError what `openModel` throws of a folder, and `fetchModel`.
 */
export async function openRunModel(
  welcome: Pick<MessageOf<'welcome'>, 'model' | 'limits' | 'config'>,
  nameOrId: string | null,
  files: FileSource,
  onProgress?: (progress: FetchProgress) => void,
  hub: HubAccess = {},
): Promise<ModelFolder> {
  await digestOfCard(welcome.model)
  if (nameOrId !== null) {
    const { config, model: card } = welcome
    const names: ModelShare['names'] = (definition) => {
      const architecture = definition.family.architecture(definition.config)
      return weightsOfSides(definition, cutOfRun({ architecture }, config.split)).bottom
    }
    // The revision is that of the server's model; a folder has none.
    const revision = (await isOnHub(nameOrId)) ? config.model.revision : 'main'
    return openModel(nameOrId, { revision, share: { names, card }, hub })
  }
  // It is as good as any copy; where it is damaged, that is no reason not to take part with another model.
  const shipped = await openModel(null).catch(() => null)
  if (shipped?.digest.model === welcome.model.digest) return shipped
  return fetchModel(welcome, files, onProgress ? { onProgress } : {})
}

/** Which rows a client is to train on. */
export interface DataChoice {
  /** The client's id: the order of its rows depends on it. */
  readonly client: string
  /** A file of its own, of rows or of code that gives them; null: the config's data. */
  readonly ownFile: string | null
  /**
   * The file of code that is here what the config's `data.dataset` names; null: none. Whoever runs this client says so: what a server names
   * is never run, not even where its files are read.
   */
  readonly datasetFile: string | null
  /** The part of either that it asked for; null: all of its own file, or the part that the server gives. */
  readonly part: Part | null
  /** Whether to open the files that the config names: only those of whoever runs the server on this machine, or who asked for a part. */
  readonly trustsConfigPaths: boolean
}

/** Reads, divides and tokenises rows: datasets/load.ts, which this folder does not import. */
export type LoadRows<Report> = (options: {
  readonly data: ClientConfig['data']
  readonly seed: number
  readonly tokenizer: Tokenizer
  readonly part: Part | null
  readonly parts?: number
  readonly datasetFile: string | null
}) => Promise<{ readonly rows: ClientRows; readonly report: Report }>

/**
 * A client's batches for the run that the welcome is of.
 * @throws UserError DATA_NOT_FOUND, MESSAGE_INVALID, CONFIG_VALUE, TOKENIZER_MISMATCH, and what `loadRows` throws.
 */
export async function openData<Report>(
  welcome: Pick<MessageOf<'welcome'>, 'config' | 'part'>,
  model: Pick<LoadedModel, 'architecture' | 'name'> & { tokenizer(): Promise<Tokenizer> },
  choice: DataChoice,
  loadRows: LoadRows<Report>,
): Promise<{ readonly data: ClientData; readonly report: Report }> {
  const { config } = welcome
  const share = choice.ownFile === null ? shareOfConfigData(welcome, choice) : ownRows(config.data, choice.ownFile, choice.part)
  const { rows, report } = await loadRows({ ...share, seed: config.train.seed, tokenizer: await model.tokenizer() }).catch(
    (error: unknown) => {
      throw choice.ownFile === null ? notHere(error, config.data) : error
    },
  )
  checkRowsFit(rows.train, model.architecture, model.name)
  checkRowsFit(rows.evaluation, model.architecture, model.name)
  return { data: dataFromRows(rows, choice.client, config), report }
}

/** Rows of one file; the config's own files are not for them, nor is its partition where they stay together. */
function ownRows(given: ClientConfig['data'], file: string, part: Part | null) {
  const isCode = isOwnModule(file)
  const data = { ...given, dataset: isCode ? file : null, path: isCode ? null : file, eval_path: null }
  return { data: { ...data, partition: part ? given.partition : ('iid' as const) }, part, datasetFile: isCode ? file : null }
}

function shareOfConfigData({ config, part: given }: Pick<MessageOf<'welcome'>, 'config' | 'part'>, choice: DataChoice) {
  const { data } = config
  const { datasetFile } = choice
  const named = data.path ?? data.eval_path
  if (named !== null && !choice.trustsConfigPaths)
    throw new UserError({
      code: 'DATA_NOT_FOUND',
      what: `the config's data, ${named}, is not opened`,
      why: 'the server that names this file is on another machine, and it is for you to say which of your files are trained on',
      fix: 'give rows of your own with --data, or the part of that file to take with --part I/N if it lies here too',
    })
  if (config.split.topology === 'centralized') return { data, part: null, parts: config.federation.num_clients, datasetFile }
  const part = given ?? choice.part
  if (!part || part.index >= part.count)
    throw new UserError({
      code: 'MESSAGE_INVALID',
      what: `the server gave ${choice.client} no part of the data that there is`,
      why: part ? `part ${part.index} of ${part.count} (counted from 0)` : 'it knows this client as one with data of its own',
      fix: 'start the client with --data, or with --part I/N, or under another id',
    })
  return { data, part, datasetFile }
}

/** A file that the config names and that is not here: whoever reads this may never have seen the config. */
function notHere(error: unknown, { path, eval_path: evalPath }: ClientConfig['data']): unknown {
  const named = [path, evalPath].filter((name) => name !== null).map((name) => resolve(name))
  if (!(error instanceof UserError) || error.code !== 'DATA_NOT_FOUND' || named.length === 0) return error
  return new UserError(
    {
      code: 'DATA_NOT_FOUND',
      what: "the rows of the server's config cannot be read by this client",
      why: `${error.what}: ${error.why}; looked for ${named.join(' and ')}`,
      fix: 'start this client in the folder that the server runs in, or give it rows of its own with --data',
    },
    { cause: error },
  )
}

/**
 * An error as the server may hear it. What goes wrong with rows is told with the words of the file, and those stay here.
 */
export function withoutRows(error: UserError): UserError {
  if (!error.code.startsWith('DATA_')) return error
  return new UserError({
    code: error.code,
    what: 'the client cannot use its rows',
    why: 'what is wrong with them is said where the client runs, and stays there',
    fix: 'see the output or the log of that client',
  })
}
