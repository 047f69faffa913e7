/**
 * @file `cutlayer client`: one client of a run. What it trains, and how, the server says.
 */
import { z } from 'zod'
import { loadClientRows, type DataReport } from '../datasets/load.js'
import { openBackend, threadsPerProcess } from '../shared/backend/open.node.js'
import {
  defineCommand,
  downloadReport,
  integerFlag,
  type CommandContext,
  type CommandDefinition,
  type CommandResult,
} from '../shared/command-line/index.node.js'
import { OWN_MODULE } from '../shared/config/own-path.js'
import { UserError } from '../shared/errors.js'
import { ClientId, type Part } from '../shared/protocol/messages.js'
import { readToken } from '../shared/token-file.node.js'
import { openTraceFile } from '../shared/trace-file.node.js'
import { packageVersion } from '../shared/version.node.js'
import { openData } from './equipment.node.js'
import { clientSecret } from './identity.node.js'
import { helloOf } from './join.js'
import { connectUnlessStopped, participate } from './participate.node.js'
import { ClientReport, summaryText } from './report.node.js'
import { DEFAULT_RETRY_SECONDS } from './stay.js'
import type { ConnectionState } from './socket.js'
import { trust } from './trust.node.js'

const NOTICE =
  "what leaves this machine is for the server's config to say: smashed activations, the ids of scored tokens, a LoRA adapter and counts, and no more. Rows never leave as text. Details follow when the server answers"

const PART = 'I/N with I from 0 to N - 1, such as 0/4'

/** `2/4`: the third of four parts. */
const PartFlag = z
  .string(PART)
  .regex(/^\d{1,6}\/\d{1,6}$/, PART)
  .transform((text): Part => {
    const [index, count] = text.split('/').map(Number)
    return { index, count }
  })
  .refine(({ index, count }) => index < count, PART)

const Options = z.object({
  server: z.string('the address that `cutlayer server` printed, such as http://127.0.0.1:7700'),
  id: z.string('a name for this client, such as client-0').pipe(ClientId),
  model: z.string().min(1, 'a folder or a hub id').optional(),
  data: z.string().min(1, 'a file').optional(),
  dataset: z.string().regex(OWN_MODULE, 'a JavaScript file, such as ./my-dataset.js').optional(),
  part: PartFlag.optional(),
  tokenFile: z.string().min(1, 'a file').optional(),
  engine: z.string().default('onnx'),
  threads: integerFlag(1, 1024).optional(),
  trace: z.string().min(1, 'a file').optional(),
  ca: z.string().min(1, 'a file').optional(),
  retryS: integerFlag(0, 86_400).default(DEFAULT_RETRY_SECONDS),
})
type Options = z.infer<typeof Options>

const clientCommand = defineCommand({
  usage: 'client',
  summary: 'one client: joins the run of a server and trains its first blocks on its own rows',
  example: 'cutlayer client --server http://127.0.0.1:7700 --id client-0 --data rows.jsonl --token-file token',
  flags: {
    '--server <url>': 'address of the edge server (needed)',
    '--id <name>': 'name of this client in the run (needed)',
    '--model <model>': 'the base model, a folder or a hub id; without it what it lacks is fetched from the server',
    '--data <file>': 'rows of its own (JSONL, CSV, or a file of code that gives them), in place of those of the config',
    '--dataset <file>': 'the file of code that data.dataset of the config names; no client runs code because a server names it',
    '--part <i/n>': "part of the rows to take, counted from 0; without it and --data the server gives it one of the config's",
    '--token-file <file>': 'file with its own token, or that of all clients',
    '--engine <name>': 'onnx, tfjs or reference [onnx]',
    '--threads <count>': 'threads that compute [cores]',
    '--trace <file>': 'write what this client does when, as a Chrome trace',
    '--retry-s <seconds>': `how long to wait for a server that is gone to come back; 0: not at all [${DEFAULT_RETRY_SECONDS}]`,
    '--ca <file>': 'certificates (PEM) to trust for an https server [those of Node and NODE_EXTRA_CA_CERTS]',
  },
  options: Options,
  graceful: true,
  run: (context, _, options) => runClient(context, options),
})

export const commands: readonly CommandDefinition[] = [clientCommand]

async function runClient(context: CommandContext, options: Options): Promise<CommandResult> {
  const { server, id: client, part = null, data: ownFile = null } = options
  if (ownFile !== null && options.dataset !== undefined) throw notBoth()
  const token = options.tokenFile === undefined ? null : await readToken(options.tokenFile)
  const trusted = await trust(options.ca)
  const trace = options.trace === undefined ? null : openTraceFile(options.trace, client)
  const threads = options.threads ?? threadsPerProcess(1)
  const backend = openBackend(options.engine, { threads, lanes: 1, ...(trace ? { trace: trace.trace } : {}) })
  const report = new ClientReport(context, client)
  try {
    context.event({ event: 'notice', text: NOTICE }, NOTICE)
    const software = `cutlayer ${packageVersion()}`
    const secret = clientSecret(server, client)
    const hello = helloOf({ client, token, secret, part, ownData: ownFile !== null, engine: backend.name, software })
    const connecting = { ...trusted, url: server, hello: () => hello, onState: connectionReport(context, server) }
    const link = await connectUnlessStopped(connecting, context.signal)
    if (link) {
      const trustsConfigPaths = part !== null || isThisMachine(server)
      const choice = { client, ownFile, datasetFile: options.dataset ?? null, part, trustsConfigPaths }
      await participate({
        reconnect: {
          retrySeconds: options.retryS,
          connect: (seconds) => connectUnlessStopped({ ...connecting, connectSeconds: seconds }, context.signal),
          onLost: (error, seconds) => tellLost(context, error, seconds),
        },
        ...{
          client,
          link,
          backend,
          signal: context.signal,
          urgent: context.urgent,
          modelFolder: options.model ?? null,
          onDownload: downloadReport(context),
        },
        async openRows(welcome, model) {
          const { data, report: rows } = await openData(welcome, model, choice, loadClientRows)
          tellRows(context, rows)
          return data
        },
        onEvent: (event) => report.hear(event),
        onTraffic: (traffic) => report.traffic(traffic),
        ...(trace ? { trace: trace.trace } : {}),
      })
    }
    const summary = report.end()
    return { data: summary, text: summaryText(summary) }
  } finally {
    report.end()
    await backend.dispose()
    trace?.finish()
  }
}

function connectionReport(context: CommandContext, url: string): (state: ConnectionState) => void {
  let isFirst = true
  return (state) => {
    const text = state === 'reconnecting' ? 'the connection is lost; trying again' : isFirst ? `connected to ${url}` : 'connected again'
    isFirst = false
    context.event({ event: 'connection', state }, text)
  }
}

/** The link is lost for good, and the client stays. */
function tellLost(context: CommandContext, { what, why }: UserError, seconds: number): void {
  const text = `${what} (${why}); waiting for the server for up to ${seconds} s, to join the run again`
  context.event({ event: 'connection', state: 'waiting', reason: why, seconds }, text)
}

function tellRows(context: CommandContext, rows: DataReport): void {
  const { description, trainRows, evalRows, truncated, dropped, trainTokens, scoredTokens } = rows
  const cut = [
    ...(truncated > 0 ? [`${truncated} rows were cut at data.max_length`] : []),
    ...(dropped > 0 ? [`${dropped} rows without a scored token were left out`] : []),
  ]
  context.event(
    {
      event: 'data',
      description,
      train_rows: trainRows,
      eval_rows: evalRows,
      truncated,
      dropped,
      train_tokens: trainTokens,
      scored_tokens: scoredTokens,
    },
    [`rows: ${description}`, ...cut].join('; '),
  )
}

function isThisMachine(url: string): boolean {
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}

function notBoth(): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'this client cannot take both --data and --dataset',
    why: "--data replaces the config's data, and --dataset says where the config's data set lies",
    fix: 'leave one of them out',
  })
}
