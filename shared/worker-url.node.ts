/**
 * @file Where a worker's compiled file is.
 */
import { existsSync } from 'node:fs'
import { pathToFileURL, fileURLToPath } from 'node:url'
import { dirname, join, relative } from 'node:path'
import { unreachable } from './errors.js'

/**
 * The URL of `file`, which lies beside the caller. Node cannot run TypeScript in a worker, so a caller that itself runs from its
 * source, as tests do, gets the file under `dist/` that `npm run build` made of it.
 *
 * @param file the compiled name, as `onnx-worker.node.js`.
 * @param caller the caller's `import.meta.url`.
 */
export function workerUrl(file: string, caller: string): URL {
  if (!caller.endsWith('.ts')) return new URL(file, caller)
  const folder = dirname(fileURLToPath(caller))
  let root = folder
  while (!existsSync(join(root, 'package.json'))) {
    if (dirname(root) === root) unreachable(`${folder} lies in no package`)
    root = dirname(root)
  }
  const built = join(root, 'dist', relative(root, folder), file)
  if (!existsSync(built)) throw new Error(`${built} is missing: run \`npm run build\` first`)
  return pathToFileURL(built)
}
