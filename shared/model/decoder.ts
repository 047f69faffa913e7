/**
 * @file Runs a model token by token: keys and values of the positions so far stay in the engine, so each step computes only the new ones.
 */
import { isHandle, tensorsOf, type Handle } from '../backend/backend.js'
import { UserError } from '../errors.js'
import { graphInputs, graphWeights, type Graph } from '../graph/data.js'
import { f32, i32, scalar, type NamedTensors, type Tensor } from '../tensor.js'
import { layoutOf } from '../train/batch.js'
import { generationGraph, pastName, presentName, type ModelDefinition } from './graphs.js'
import { addLora, defaultTerm } from './lora.js'
import { ofModule, type PerModule } from './module-selection.js'
import type { StageSetting } from './stage.js'

export interface Decoder {
  /** Positions that the model has left. */
  readonly room: number
  /**
   * Goes on with these tokens.
   * @returns logits of the token that follows them, f32 [vocabulary].
   * @throws UserError BAD_ARGUMENT if the model has no position left for them.
   */
  next(ids: Int32Array): Promise<Float32Array>
  dispose(): Promise<void>
}

/** Names of the weights that generation needs: all of the model's. */
export function decoderWeights(definition: ModelDefinition): string[] {
  return [...graphWeights(generationGraph(definition)).keys()]
}

export async function openDecoder(
  { backend, model, weights, lora, lane }: Pick<StageSetting, 'backend' | 'model' | 'weights' | 'lora' | 'lane'>,
  adapter: NamedTensors,
): Promise<Decoder> {
  const graph = addLora(generationGraph(model), new Map(lora.paths.map((path) => [path, [defaultTerm(false)]])))
  const names = rememberedNames(graph)
  const fixed = fixedInputs(graph, adapter, lora.scale)
  const { maxPositions } = model.family.architecture(model.config)
  const program = await backend.compile(graph, weights, { name: 'generate', lane })
  let past: Record<string, Tensor | Handle> = emptyPast(graph, names)
  let length = 0
  const release = (): Promise<void> => backend.release(Object.values(past).filter(isHandle))

  return {
    get room() {
      return maxPositions - length
    },
    async next(ids) {
      if (length + ids.length > maxPositions) throw tooLong(length + ids.length, maxPositions)
      const { positions, slots, places } = layoutOf([ids.length])
      const given = {
        ...fixed,
        ids: i32([ids.length], ids),
        positions: i32(
          positions.shape,
          positions.data.map((position) => position + length),
        ),
        slots,
        places,
        scored: i32([1], [ids.length - 1]),
        ...past,
      }
      const results = await program.run(given, { keep: names.map(presentName) })
      await release()
      past = Object.fromEntries(names.map((name) => [pastName(name), results[presentName(name)]]))
      length += ids.length
      return tensorsOf(results, ['logits'])[0].data as Float32Array
    },
    async dispose() {
      await release()
      past = {}
      await program.dispose()
    },
  }
}

function rememberedNames(graph: Graph): string[] {
  const prefix = presentName('')
  return [...graph.outputs.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
}

/** One row, and no position yet. */
function emptyPast(graph: Graph, names: readonly string[]): Record<string, Tensor> {
  const inputs = graphInputs(graph)
  return Object.fromEntries(
    names.map((name) => {
      const { shape } = inputs.get(pastName(name))!
      return [
        pastName(name),
        f32(
          shape.map((dim) => (dim === 'batch' ? 1 : dim === 'past' ? 0 : Number(dim))),
          new Float32Array(0),
        ),
      ]
    }),
  )
}

/** The adapter and its scales: the same for every token. */
function fixedInputs(graph: Graph, adapter: NamedTensors, scale: PerModule): Record<string, Tensor> {
  const fixed: Record<string, Tensor> = {}
  for (const name of graphInputs(graph).keys()) {
    const scaled = /^(.*)\.lora_scale$/.exec(name)
    const tensor = scaled ? scalar(ofModule(scale, scaled[1]!)) : adapter.get(name)
    if (tensor) fixed[name] = tensor
  }
  return fixed
}

function tooLong(tokens: number, positions: number): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'the text is too long for the model',
    why: `it comes to ${tokens} tokens, and the model has ${positions} positions`,
    fix: 'give a shorter prompt, or ask for fewer new tokens',
  })
}
