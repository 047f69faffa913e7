/**
 * @file Puts an interrupted run's books, adapters and checkpoints back to where it goes on, says so in its events, and hands the state to its server.
 */
import type { Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { unrepeatableCodecs } from '../../shared/protocol/codec/setting.js'
import type { Metadata } from '../../shared/run-records.js'
import type { NamedTensors } from '../../shared/tensor.js'
import type { Checkpoints } from '../checkpoint/checkpoints.js'
import type { RunObserver } from '../observer.js'
import type { RunRecorder } from '../recorder.js'
import type { ResumeFrom } from '../resume-from.js'
import type { SavedState } from '../saved-state.js'
import { removeTorn, type InterruptedRun } from './interrupted-run.js'

interface Parts {
  readonly recorder: RunRecorder
  readonly checkpoints: Checkpoints
  readonly observer: RunObserver
}

/** @throws UserError RUN_DIR_UNWRITABLE */
export async function goOn(run: InterruptedRun, now: Pick<Metadata, 'code'> & { config: Config }, parts: Parts): Promise<ResumeFrom> {
  const { checkpoint, torn, lines } = run
  const { recorder, checkpoints, observer } = parts
  for (const { round, why } of torn)
    observer.event({ event: 'checkpoint-torn', round, reason: `checkpoints/round-${round} is not whole and is passed over: ${why}` })
  await removeTorn(run)
  await checkpoints.open()
  const round = checkpoint === null ? 0 : checkpoint.state.round + 1
  const attempts = new Map([...lines.abandoned].map(([of, highest]) => [of, highest + 1]))
  const abandoned = [...lines.abandoned].sort(([a], [b]) => a - b).map(([of, attempt]) => ({ round: of, attempt }))
  observer.event({ event: 'resume', round, attempt: attempts.get(round) ?? 0, abandoned, reason: whence(checkpoint?.state ?? null) })
  for (const reason of warnings(run, now)) observer.event({ event: 'warning', reason })
  await recorder.resume({
    rounds: lines.rounds,
    traffic: lines.traffic,
    record: checkpoint?.record ?? NOTHING,
    adapters: checkpoint ? lastAdapters(checkpoint.state) : new Map(),
    bestAdapters: checkpoint?.bestAdapters ?? new Map(),
  })
  if (!checkpoint) return { saved: null, attempts }
  // What is in the books already is not to be written down again.
  return { saved: lines.traffic.length > 0 ? { ...checkpoint.state, traffic: [] } : checkpoint.state, attempts }
}

/** @throws UserError MODEL_DIGEST_DIFFERS */
export function checkSameModel(
  { metadata, folder }: InterruptedRun,
  model: { readonly name: string; readonly digest: { readonly model: string } },
): void {
  const { name, digest } = metadata.model
  if (digest === model.digest.model) return
  throw new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: 'the run cannot go on with this model',
    why: `${model.name} has the digest ${model.digest.model.slice(0, 12)}..., and ${folder} was begun with ${name}, ${digest.slice(0, 12)}...`,
    fix: 'give it the model that it was begun with: model.model_name_or_path',
  })
}

const NO_BYTES = { payload_bytes: 0, wire_bytes: 0, fp32_bytes: 0, fp32_ratio: null }
const NOTHING = { best: [], bytes: { up: 0, down: 0 }, cut: { up: NO_BYTES, down: NO_BYTES } }

function whence(state: SavedState | null): string {
  if (state === null) return 'there is no checkpoint yet: it starts at its beginning'
  return `from checkpoints/round-${state.round}`
}

/** Each in the form in which rounds tell it. */
function lastAdapters({ round, clients, top }: SavedState): Map<string | null, { readonly round: number; readonly adapter: NamedTensors }> {
  if (clients.own.size > 0) return new Map([...clients.own].map(([client, { round: of, adapter }]) => [client, { round: of, adapter }]))
  return new Map([[null, { round, adapter: new Map([...clients.adapter, ...(top?.adapter ?? [])]) }]])
}

function warnings({ metadata, wasComplete }: InterruptedRun, { config, code }: Pick<Metadata, 'code'> & { config: Config }): string[] {
  const { split, transport, federation } = config
  const codecs = [...new Set([transport.activation_codec, transport.gradient_codec].flatMap(unrepeatableCodecs))]
  const changed = (['strategy', 'dataset'] as const).filter((which) => code?.[which]?.sha256 !== metadata.code?.[which]?.sha256)
  return [
    ...(split.topology === 'split' && codecs.length > 0
      ? [`both ends of ${codecs.join(' and ')} begin with an empty memory: the numbers differ from those of a run without interruptions`]
      : []),
    ...changed.map((which) => `the file of code that is the ${which} is not the one that the run began with`),
    ...(wasComplete && federation.optimizer_state === 'keep'
      ? ['the run was complete, and its clients have let go of their optimizer states: they begin with empty ones']
      : []),
  ]
}
