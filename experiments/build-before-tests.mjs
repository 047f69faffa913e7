/**
 * @file Makes sure that dist/ is what the sources say before tests of whole processes run it. Incremental: a second or two if nothing changed.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

export default function setup() {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  try {
    execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    // The compiler writes what it can even so: tests of a part need not wait for a mistake elsewhere. `npm test` builds first, and stops.
    console.warn(`the sources do not compile; dist/ may be behind them:\n${error.stdout?.toString() ?? error.message}`)
    if (!existsSync(new URL('../dist/cli.js', import.meta.url))) throw error
  }
}
