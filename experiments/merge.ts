/**
 * @file `cutlayer merge`: a model with an adapter merged into its weights, as a folder in Hugging Face form.
 */
import { resolve } from 'node:path'
import { z } from 'zod'
import { byteSize, defineCommand, hubAccess, wordFlag, type Progress } from '../shared/command-line/index.node.js'
import { adapterFor } from '../shared/model/adapter-for.node.js'
import { writeMergedModel, type MergedDtype } from '../shared/model/merged.node.js'
import { openModel } from '../shared/model/model.node.js'
import { refuseOccupied } from '../shared/model/new-folder.node.js'

const DTYPES: Readonly<Record<'f32' | 'f16' | 'bf16', MergedDtype>> = { f32: 'F32', f16: 'F16', bf16: 'BF16' }

export const mergeCommand = defineCommand({
  usage: 'merge <out>',
  summary: 'merge an adapter into its base model, and write a whole model to a new folder',
  example: 'cutlayer merge --model ./my-gpt2 --adapter runs/20260101-000000_exp_a1b2c3/adapter ./merged',
  flags: {
    '--model <model>': 'the base model, a folder or a hub id; without it the shipped one',
    '--revision <name>': 'branch, tag or commit of a hub id [main]',
    '--adapter <adapter>': 'a PEFT adapter of that model, a folder or a hub id (needed)',
    '--dtype <name>': 'f32, f16 or bf16 [as the base model]',
  },
  options: z.object({
    model: z.string().min(1, 'a folder or a hub id').optional(),
    revision: z.string().optional(),
    adapter: z.string('a PEFT folder or a hub id').min(1, 'a PEFT folder or a hub id'),
    dtype: wordFlag(['f32', 'f16', 'bf16']).optional(),
  }),
  async run(context, [out], given) {
    await refuseOccupied(out!)
    const hub = hubAccess(context)
    const model = await openModel(given.model ?? null, { revision: given.revision, hub })
    const { lora, tensors, warnings } = await adapterFor(model, given.adapter, hub)
    warnings.forEach(context.warn)
    const bars: Progress[] = []
    try {
      const { merged, bytes, dtypes, files, ...counts } = await writeMergedModel({
        model: model.folder,
        family: model.definition.family,
        adapter: { paths: lora.paths, scale: lora.scale, tensors },
        out: out!,
        dtype: given.dtype === undefined ? null : DTYPES[given.dtype],
        onTensor(done, total) {
          if (bars.length === 0) bars.push(context.progress('tensors', total))
          bars[0].update(done)
        },
      })
      const data = { model_dir: resolve(out!), base_model: model.name, merged, ...counts, dtypes, bytes, files }
      const text = `wrote ${model.name} with the adapter in ${merged} of its ${counts.tensors} tensors to ${data.model_dir}: ${byteSize(bytes)}, ${dtypes.join(' and ')}`
      return { data, text }
    } finally {
      bars[0]?.finish()
    }
  },
})
