/**
 * @file LoRA as a graph rewrite: y = x W + b becomes y + scale (dropout(x) A^T) B^T on chosen linear layers.
 *
 * A, B and scale are inputs, so one compiled program serves any client, rank and alpha. Source: Hu et al. 2021, arXiv:2106.09685.
 */
import { UserError } from '../errors.js'
import type { Graph } from '../graph/data.js'
import type { Value } from '../graph/graph.js'
import { newGraph } from '../graph/ops/index.js'
import { replay } from '../graph/replay.js'
import type { LinearModule } from './families/family.js'
import { isAllLinear, isNamed, lastNames, selectedModules } from './module-selection.js'

/** One low-rank term on a module. A list of them may stand on one weight; `name` '' is PEFT's default adapter. */
export interface LoraTerm {
  readonly name: string
  readonly trainable: boolean
  /** Whether its input goes through a dropout mask, an input of its own. */
  readonly dropout: boolean
}

export const defaultTerm = (dropout: boolean): LoraTerm => ({ name: '', trainable: true, dropout })

/** Names of a term's inputs. `a` and `b` are the adapter's keys in memory; see adapter.ts. */
export function termInputs(path: string, term: Pick<LoraTerm, 'name'>): { a: string; b: string; scale: string; mask: string } {
  const suffix = term.name === '' ? '' : `.${term.name}`
  return {
    a: `${path}.lora_A${suffix}.weight`,
    b: `${path}.lora_B${suffix}.weight`,
    scale: `${path}.lora_scale${suffix}`,
    mask: `${path}.lora_mask${suffix}`,
  }
}

/**
 * Modules that `target_modules` selects: whole paths or their last names, one Python regular expression for whole paths, or `all-linear`.
 *
 * PEFT passes over a name that selects none; here a person wrote it, and meant something.
 * @throws UserError TARGET_MATCHES_NOTHING naming the first target that selects none.
 */
export function targetedModules(modules: readonly LinearModule[], targets: readonly string[] | string): LinearModule[] {
  const selection = { targetModules: targets, excludeModules: [], layers: null, layersPattern: [] }
  if (typeof targets === 'string') {
    const selected = selectedModules(modules, selection)
    if (selected.length === 0 && !isAllLinear(targets)) throw matchesNothing(modules, `is the pattern ${targets}`)
    return selected
  }
  const idle = targets.find((target) => !modules.some(({ path }) => isNamed(path, target)))
  if (idle !== undefined) throw matchesNothing(modules, `has ${idle}`)
  return selectedModules(modules, selection)
}

function matchesNothing(modules: readonly LinearModule[], said: string): UserError {
  const names = lastNames(modules).join(', ')
  return new UserError({
    code: 'TARGET_MATCHES_NOTHING',
    what: `lora.target_modules ${said}, which matches no linear layer of this model`,
    why: `its linear layers are called ${names}`,
    fix: `give a list of some of ${names}, or of full paths such as ${modules[0]!.path}; a text in place of a list is a pattern for full paths`,
  })
}

/** Appends LoRA terms to the linear layers named by `terms` (keys: module paths). A: f32 [r, in], B: f32 [out, r], scale: f32 []. */
export function addLora(graph: Graph, terms: ReadonlyMap<string, readonly LoraTerm[]>): Graph {
  const builder = newGraph()
  replay(graph, builder, (node, inputs) => {
    const path = node.op === 'gemm' ? weightPath(inputs[1]!) : null
    const list = path === null ? undefined : terms.get(path)
    if (path === null || !list) return null
    const x = inputs[0]!
    let y = builder.apply(node.op, inputs, node.attributes)[0]
    for (const term of list) {
      const names = termInputs(path, term)
      const [width, out] = [x.shape[1], y.shape[1]]
      const rank = `rank${term.name === '' ? '' : `.${term.name}`}.${path}`
      const a = builder.input(names.a, 'f32', [rank, width])
      const b = builder.input(names.b, 'f32', [out, rank])
      const scale = builder.input(names.scale, 'f32', [])
      const kept = term.dropout ? x.mul(builder.input(names.mask, 'f32', x.shape)) : x
      y = kept.gemm(a, { transposeB: true }).mul(scale).gemm(b, { transposeB: true, add: y })
    }
    return [y]
  })
  return builder.finish()
}

function weightPath({ builder, id }: Value): string | null {
  const { source } = builder.values[id]
  return source.kind === 'weight' && source.name.endsWith('.weight') ? source.name.slice(0, -'.weight'.length) : null
}
