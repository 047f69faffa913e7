/**
 * @file The library's client: takes part in the run of a server, with rows of its own. What `cutlayer client` does.
 */
import { dataFromRows } from '../../client/data.js'
import { openData } from '../../client/equipment.node.js'
import { clientSecret } from '../../client/identity.node.js'
import { helloOf } from '../../client/join.js'
import { connectUnlessStopped, participate, type Reconnect } from '../../client/participate.node.js'
import { DEFAULT_RETRY_SECONDS } from '../../client/stay.js'
import type { TrainerEvent } from '../../client/trainer.js'
import { trust } from '../../client/trust.node.js'
import { loadClientRows } from '../../datasets/load.js'
import { rowsInMemory } from '../../datasets/own.js'
import type { RowObject } from '../../datasets/row-forms.js'
import type { Backend } from '../../shared/backend/backend.js'
import { openBackend, threadsPerProcess } from '../../shared/backend/open.node.js'
import { checkRowsFit } from '../../shared/model/fit.js'
import type { ClientLink } from '../../shared/protocol/link.js'
import { checkedClientId } from '../../shared/protocol/client-id.js'
import type { Part } from '../../shared/protocol/messages.js'
import { readToken } from '../../shared/token-file.node.js'
import { packageVersion } from '../../shared/version.node.js'

export interface ClientOptions {
  /** Its name in the run: the order of its rows depends on it. */
  readonly id: string
  /** Its rows, as objects or in a file (JSONL, CSV, or code that gives them). Left out: those that the server's config names, if they are here. */
  readonly data?: string | Iterable<RowObject> | AsyncIterable<RowObject>
  /** Where the data set lies that the server's config names by path, for a client without `data`. The file is run. */
  readonly datasetFile?: string
  /** The part of a file of rows to take, counted from 0. */
  readonly part?: Part
  /** Folder of the base model. Left out: the shipped one, if it is the server's. */
  readonly model?: string
  /** File with its own token, or that of all clients. */
  readonly tokenFile?: string
  /** File with the certificates (PEM) to trust for an https server [those of Node]. */
  readonly ca?: string
  /** onnx or reference [onnx]. */
  readonly engine?: string
  /** [the cores of this machine] */
  readonly threads?: number
  /** How many seconds to wait for a server that is gone to come back [600]; 0: not at all. */
  readonly retrySeconds?: number
  /** Is told what it does, as it does it. */
  readonly onEvent?: (event: TrainerEvent) => void
  /** As `leave`. */
  readonly signal?: AbortSignal
}

/**
 * A client that has joined a run.
 *
 *     const client = await Client.join('http://127.0.0.1:7700', { id: 'ada', data: [{ text: 'a row' }] })
 *     await client.finished
 */
export class Client {
  readonly id: string
  /** Resolves when the run is over, or the client has left; rejects with the UserError that keeps it from taking part. */
  readonly finished: Promise<void>

  private constructor(
    id: string,
    finished: Promise<void>,
    private readonly leaving: AbortController,
  ) {
    this.id = id
    this.finished = finished
    this.finished.catch(() => {}) // whoever awaits it hears of it; nobody has to
  }

  /**
   * Connects to a server, and takes part from then on.
   * @param url as `EdgeServer.url`.
   * @throws UserError SERVER_UNREACHABLE, BAD_ARGUMENT, ENGINE_UNAVAILABLE, TOKEN_REFUSED and the like; the signal's reason if it aborts before.
   */
  static async join(url: string, options: ClientOptions): Promise<Client> {
    const { tokenFile, part = null, engine = 'onnx', threads = threadsPerProcess(1), signal } = options
    const id = checkedClientId(options.id)
    const leaving = new AbortController()
    const both = signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal
    const token = tokenFile === undefined ? null : await readToken(tokenFile)
    const trusted = await trust(options.ca)
    const backend = openBackend(engine, { threads, lanes: 1 })
    try {
      const facts = { client: id, token, secret: clientSecret(url, id), part, ownData: options.data !== undefined, engine: backend.name }
      const hello = helloOf({ ...facts, software: `cutlayer ${packageVersion()}` })
      const connecting = { ...trusted, url, hello: () => hello }
      const link = await connectUnlessStopped(connecting, both)
      if (!link) throw both.reason
      const reconnect: Reconnect = {
        retrySeconds: options.retrySeconds ?? DEFAULT_RETRY_SECONDS,
        connect: (connectSeconds) => connectUnlessStopped({ ...connecting, connectSeconds }, both),
      }
      return new Client(id, takePart(link, reconnect, backend, { ...options, signal: both }), leaving)
    } catch (error) {
      await backend.dispose()
      throw error
    }
  }

  /** Leaves after the step under way. @returns `finished` */
  leave(): Promise<void> {
    this.leaving.abort()
    return this.finished
  }
}

async function takePart(
  link: ClientLink,
  reconnect: Reconnect,
  backend: Backend,
  options: ClientOptions & { readonly signal: AbortSignal },
): Promise<void> {
  const { id: client, data, datasetFile = null, part = null, model: modelFolder = null, signal, onEvent } = options
  try {
    await participate({
      ...{ client, link, reconnect, backend, modelFolder, signal },
      async openRows(welcome, model) {
        if (data === undefined || typeof data === 'string') {
          // Files that a server names are for the command line to allow, where a person sees which they are.
          const choice = { client, ownFile: data ?? null, datasetFile, part, trustsConfigPaths: part !== null }
          return (await openData(welcome, model, choice, loadClientRows)).data
        }
        const { config } = welcome
        const own = { ...config.data, dataset: null, path: null, eval_path: null, partition: 'iid' as const }
        const source = await rowsInMemory(data, `the rows of ${client}`)
        const { rows } = await loadClientRows({ data: own, seed: config.train.seed, tokenizer: await model.tokenizer(), part, source })
        for (const held of [rows.train, rows.evaluation]) checkRowsFit(held, model.architecture, model.name)
        return dataFromRows(rows, client, config)
      },
      onEvent: (event) => onEvent?.(event),
    })
  } finally {
    await backend.dispose()
  }
}
