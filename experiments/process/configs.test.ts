import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { packageRoot } from '../../shared/version.node.js'
import { startProgram } from '../testing/program.js'

const folder = join(packageRoot(), 'experiments', 'configs')

/** What a config names that its user has to bring is replaced by what is here. */
const BROUGHT: Readonly<Record<string, readonly string[]>> = {
  'smollm2-e2e.yaml': [
    'model.model_name_or_path=null',
    'lora.target_modules=all-linear',
    'data.path=experiments/configs/own-data.jsonl',
    'data.eval_path=experiments/configs/own-data.jsonl',
  ],
}

/** A sweep is made of configs, and validated as it is read: schema.test.ts. */
const isSweep = (name: string): boolean => /^settings:/m.test(readFileSync(join(folder, name), 'utf8'))

test.each(readdirSync(folder).filter((name) => name.endsWith('.yaml') && !isSweep(name)))(
  'the shipped config %s is valid, and names nothing that is not there',
  async (name) => {
    const args = ['validate', join('experiments', 'configs', name), ...(BROUGHT[name] ?? [])]
    const { status, envelope } = await startProgram(args, { cwd: packageRoot(), env: process.env }).ended
    expect(envelope.error ?? null).toBeNull()
    expect(status).toBe(0)
    const { warnings } = envelope.data as { warnings: string[] }
    expect(warnings.filter((warning) => warning.includes('there is no'))).toEqual([])
  },
)
