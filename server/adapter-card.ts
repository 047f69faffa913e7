/**
 * @file The model card of a run's adapter: how it was trained, from what, and how good it is.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import { adapterParameters, parseLoraName } from '../shared/model/adapter.js'
import type { AdapterCard } from '../shared/model/model-card.js'
import type { NamedTensors } from '../shared/tensor.js'

export interface CardFacts {
  readonly config: Config
  readonly model: { readonly name: string; readonly digest: string }
  /** After which it was written. */
  readonly round: number
  readonly adapter: NamedTensors
  /** Whose it is; null: everybody's. */
  readonly client: string | null
  /** Nats per scored token; null: not told. */
  readonly evalLoss: number | null
}

export function cardOf({ config, model, round, adapter, client, evalLoss }: CardFacts): AdapterCard {
  const { federation, train } = config
  const together: AdapterCard['facts'] = [
    ['Clients', federation.num_clients],
    ['Top', federation.top],
    // Of a file its name: a card goes to others, whom this machine's folders do not concern.
    ['Strategy', federation.strategy.split(/[\\/]/).at(-1) ?? federation.strategy],
  ]
  return {
    title: `LoRA adapter for ${model.name}`,
    paragraphs: [
      howTrained(config),
      ...(config.lora.init_from === null ? [] : ['Training started from another adapter of the same form.']),
      'Dropout of the frozen base model was not applied.',
    ],
    facts: [
      ['Base model digest', model.digest],
      ['Rounds', round],
      ...(client === null ? together : ([['Client', client]] as const)),
      ['Learning rate', train.learning_rate],
      ['Seed', train.seed],
      ['Ranks', rankText(adapter)],
      ['Adapter parameters', adapterParameters(adapter)],
      ...(evalLoss === null ? [] : ([['Held-out loss, nats per token', evalLoss.toFixed(4)]] as const)),
    ],
  }
}

/** As `8`, or `2 to 16` where modules differ. */
function rankText(adapter: NamedTensors): string {
  const ranks = [...adapter].filter(([name]) => parseLoraName(name)?.matrix === 'A').map(([, { shape }]) => shape[0])
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)]
  return least === most ? String(least) : `${least} to ${most}`
}

function howTrained({ split, federation }: Config): string {
  switch (split.topology) {
    case 'split':
      return `Trained by federated split fine-tuning: ${federation.num_clients} clients held the first ${split.cut_layer} blocks and their own rows, an edge server the rest. Both halves are stitched into this one adapter.`
    case 'federated':
      return `Trained by federated fine-tuning: ${federation.num_clients} clients held the whole model and their own rows, and a server averaged their adapters.`
    case 'centralized':
      return 'Trained on one client that held all rows and the whole model.'
    case 'local':
      return "Trained on one client's own rows alone; the client held the whole model, and nothing was averaged with anybody's."
    default:
      return unreachable(`topology ${String(split.topology)}`)
  }
}
