/**
 * @file What a person reads when a run has ended: what it brought, where it lies, and what to type next.
 */
import { existsSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { byteSize, type CommandContext } from '../shared/command-line/index.node.js'
import { namedAdapters } from '../shared/model/adapter-folders.node.js'
import { ratioText, type CutBytes, type CutTraffic } from '../shared/protocol/cut-bytes.js'
import type { RoundLine } from '../shared/run-records.js'
import type { HostedRun } from './host.js'
import { resumeText, type ResumeHint } from './resume/hint.js'

/** `data` of `run` and `server`: a contract with scripts. */
export interface RunResult {
  readonly run_dir: string
  /** null if no round was finished: there is no adapter then. In the topology `local` it holds a folder for each client. */
  readonly adapter_dir: string | null
  /** In the topology `local` alone: the folder of each client's own adapter. */
  readonly client_adapter_dirs?: Readonly<Record<string, string>>
  /** Of a run that ended before its time: what to type to go on with it, and the round behind which that goes on. */
  readonly resume?: ResumeHint
  /** What activations (up) and gradients (down) took, and what they would as fp32. */
  readonly cut: CutTraffic
  readonly rounds: readonly {
    readonly round: number
    readonly train_loss: number | null
    readonly eval_loss: number | null
    readonly eval_perplexity: number | null
    readonly uplink_bytes: number
    readonly downlink_bytes: number
    readonly seconds: number
  }[]
}

export function runResult({ directory, record }: Pick<HostedRun, 'directory' | 'record'>): RunResult {
  const { folder, adapterDir } = directory
  const clients = namedAdapters(adapterDir)
  return {
    run_dir: folder,
    adapter_dir: existsSync(adapterDir) ? adapterDir : null,
    ...(clients.length === 0 ? {} : { client_adapter_dirs: Object.fromEntries(clients.map((id) => [id, join(adapterDir, id)])) }),
    cut: record.cut,
    rounds: record.rounds.map(roundResult),
  }
}

function roundResult(line: RoundLine): RunResult['rounds'][number] {
  const { round, train_loss, eval_loss, eval_perplexity, seconds, clients } = line
  const sum = (key: 'uplink_bytes' | 'downlink_bytes'): number => clients.reduce((total, client) => total + client[key], 0)
  return {
    round,
    train_loss,
    eval_loss,
    eval_perplexity,
    uplink_bytes: sum('uplink_bytes'),
    downlink_bytes: sum('downlink_bytes'),
    seconds,
  }
}

export function runSummary(
  { paint }: CommandContext,
  { run_dir, adapter_dir, client_adapter_dirs: own, cut, rounds, resume }: RunResult,
  numRounds: number,
): string {
  const scored = rounds.filter(({ eval_perplexity }) => eval_perplexity !== null)
  const [first, last] = [scored[0], scored.at(-1)]
  const total = (key: 'uplink_bytes' | 'downlink_bytes'): string => byteSize(rounds.reduce((sum, round) => sum + round[key], 0))
  const change =
    first && last && first !== last
      ? `held-out perplexity ${first.eval_perplexity!.toFixed(2)} -> ${last.eval_perplexity!.toFixed(2)} (${percent(last.eval_perplexity! / first.eval_perplexity! - 1)})`
      : 'nothing was evaluated before and after'
  const here = (path: string): string => relative(process.cwd(), path) || path
  return [
    paint('bold', change),
    `traffic   up ${total('uplink_bytes')}, down ${total('downlink_bytes')}`,
    ...(cut.up.fp32_ratio === null ? [] : [`cut       activations up ${cutText(cut.up)}, gradients down ${cutText(cut.down)}`]),
    `run       ${here(run_dir)}`,
    `adapter   ${adapter_dir === null ? 'none: no round was finished' : `${here(adapter_dir)} (PEFT form${own ? `: ${Object.keys(own).length} clients, each in a folder of its name` : ''})`}`,
    `logs      ${here(run_dir)}/logs`,
    '',
    ...(resume ? [resumeText(resume, numRounds)] : []),
    `next      npx cutlayer inspect ${basename(run_dir)}`,
  ].join('\n')
}

/** `1.2 MB (payload 1.1 MB, 1/5.2 of fp32)` */
function cutText({ wire_bytes, payload_bytes, fp32_ratio }: CutBytes): string {
  return `${byteSize(wire_bytes)} (payload ${byteSize(payload_bytes)}, ${ratioText(fp32_ratio)} of fp32)`
}

function percent(change: number): string {
  return `${change > 0 ? '+' : ''}${(100 * change).toFixed(1)}%`
}
