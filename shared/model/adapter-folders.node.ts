/**
 * @file PEFT's layout of several adapters: the one called `default` lies at a folder's root, others in sub-folders of their names. A run of the
 * topology `local` has one for each client.
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { compareCodeUnits } from '../compare.js'

const CONFIG = 'adapter_config.json'

/** Names of the adapters in sub-folders, in order; none where the folder is an adapter itself, or is not there. */
export function namedAdapters(folder: string): string[] {
  if (isAdapter(folder)) return []
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.name.startsWith('.') && isAdapter(join(folder, entry.name)))
      .map(({ name }) => name)
      .sort(compareCodeUnits)
  } catch {
    return []
  }
}

/** Whether the folder itself holds an adapter. */
export function isAdapter(folder: string): boolean {
  try {
    return statSync(join(folder, CONFIG)).isFile()
  } catch {
    return false
  }
}
