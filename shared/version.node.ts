/**
 * @file The version of this copy of cutlayer, as its package.json has it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { unreachable } from './errors.js'

const Package = z.object({ name: z.literal('cutlayer'), version: z.string() })

/** The folder of package.json: the same from the sources and from `dist`, which lie at different depths. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) {
    if (dirname(folder) === folder) unreachable('no package.json above its own code')
    folder = dirname(folder)
  }
  return folder
}

export function packageVersion(): string {
  return Package.parse(JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'))).version
}
