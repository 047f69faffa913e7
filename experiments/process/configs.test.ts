import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { packageRoot } from '../../shared/version.node.js'
import { startProgram } from '../testing/program.js'

const folder = join(packageRoot(), 'experiments', 'configs')

test.each(readdirSync(folder).filter((name) => name.endsWith('.yaml')))(
  'the shipped config %s is valid, and names nothing that is not there',
  async (name) => {
    const args = ['validate', join('experiments', 'configs', name)]
    const { status, envelope } = await startProgram(args, { cwd: packageRoot(), env: process.env }).ended
    expect(status).toBe(0)
    const { warnings } = envelope.data as { warnings: string[] }
    expect(warnings.filter((warning) => warning.includes('there is no'))).toEqual([])
  },
)
