/**
 * @file Bundles for a browser all that claims to run in one: `shared` and `client` without *.node.ts, client/command.ts and tests.
 *
 * Fails where a file reaches `node:*` or a package that needs Node, in whatever way; else prints what the bundles weigh.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** What a browser client starts from; it must be there. */
const TRAINER = 'client/trainer.ts'
const NODE_ONLY = /(^|\/)node_modules\/(onnxruntime-node|@tensorflow\/tfjs-node-gpu|socket\.io|commander)\//

const files = ['shared', 'client'].flatMap(sourcesIn).sort()
if (!existsSync(join(ROOT, TRAINER))) fail([`${TRAINER} is missing`])

const everything = await bundle(files)
const nodeOnly = Object.keys(everything.metafile.inputs).filter((path) => NODE_ONLY.test(path) || path.endsWith('.node.ts'))
if (nodeOnly.length > 0) fail(nodeOnly.map((path) => `${path} needs Node, and a file that runs in a browser imports it`))

const trainer = await bundle([TRAINER])
console.log(`browser bundle of ${files.length} files: ${sizes(everything)}`)
console.log(`browser bundle of ${TRAINER}: ${sizes(trainer)}`)

/** Files of a folder that are to run in a browser, as paths from the root with forward slashes. */
function sourcesIn(folder) {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !/\.(test|node|node\.test)\.ts$/.test(entry.name))
    .map((entry) =>
      relative(ROOT, join(entry.parentPath ?? entry.path, entry.name))
        .split(sep)
        .join('/'),
    )
    .filter((path) => path !== 'client/command.ts' && !path.includes('/testing/') && !path.includes('/golden/'))
}

/** One module that imports all the files, so that what they share is counted once. */
async function bundle(paths) {
  const contents = paths.map((path, index) => `export * as file${index} from './${path.replace(/\.ts$/, '.js')}'`).join('\n')
  try {
    return await build({
      stdin: { contents, resolveDir: ROOT, loader: 'ts' },
      absWorkingDir: ROOT,
      bundle: true,
      platform: 'browser',
      format: 'esm',
      target: 'es2023',
      minify: true,
      write: false,
      metafile: true,
      logLevel: 'silent',
    })
  } catch (error) {
    return fail(
      (error.errors ?? [{ text: error.message }]).map(
        ({ location, text }) => `${location ? `${location.file}:${location.line}: ` : ''}${text}`,
      ),
    )
  }
}

function sizes({ outputFiles: [output] }) {
  const kilobytes = (bytes) => `${Math.round(bytes.length / 1000)} kB`
  return `${kilobytes(output.contents)}, ${kilobytes(gzipSync(output.contents))} compressed`
}

function fail(lines) {
  for (const line of lines) console.error(`browser bundle: ${line}`)
  process.exit(1)
}
