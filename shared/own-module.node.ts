/**
 * @file Code of the user's own: imports a JavaScript file that a config names by its path, and tells what goes wrong in it.
 *
 * Only ever for a path that whoever runs this process gave: a path that came over the network must never get here.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { UserError, type ErrorCode } from './errors.js'

/** What such a file is for, in the words and with the code of its errors. */
export interface OwnModuleRole {
  /** "strategy", "data set". */
  readonly kind: string
  readonly code: ErrorCode
  /** Where it is not there. */
  readonly notFound: ErrorCode
  /** What its default export has to be, as "export default { ... }". */
  readonly wanted: string
}

export interface OwnModule {
  /** As it was given. */
  readonly path: string
  /** Of the file's bytes, in hex. Files that it imports are not in it. */
  readonly sha256: string
  /** Its default export. */
  readonly value: unknown
}

const LONGEST_MESSAGE = 500

/**
 * @param path from the folder the command runs in, as all paths of a config.
 * @throws UserError with the role's codes.
 */
export async function importOwnModule(path: string, role: OwnModuleRole): Promise<OwnModule> {
  const bytes = await ownBytes(path, role)
  const sha256 = digestOf(bytes)
  const url = pathToFileURL(resolve(path))
  // A file that was changed since this process imported it is another module, so that what runs is what the digest is of.
  url.searchParams.set('sha256', sha256)
  let module: Readonly<Record<string, unknown>>
  try {
    module = (await import(/* @vite-ignore */ url.href)) as Readonly<Record<string, unknown>>
  } catch (cause) {
    throw notImported(path, role, cause)
  }
  const value = defaultOf(module)
  if (value === undefined || value === null) throw unusable(path, role, 'it has no default export', `add a default export: ${role.wanted}`)
  return { path, sha256, value }
}

/** Of a module that a compiler made CommonJS of, Node's default export is all its exports. */
function defaultOf(module: Readonly<Record<string, unknown>>): unknown {
  const { default: value } = module
  const isCompiled = typeof value === 'object' && value !== null && '__esModule' in value && 'default' in value
  return isCompiled ? value.default : value
}

/** SHA-256 of a file of the user's own, in hex; null if it cannot be read here. */
export async function digestOfFile(path: string): Promise<string | null> {
  return readFile(path).then(digestOf, () => null)
}

/** The error for a file that is there and cannot be used. */
export function unusable(path: string, { kind, code }: OwnModuleRole, why: string, fix: string, cause?: unknown): UserError {
  return new UserError({ code, what: `the ${kind} in ${path} cannot be used`, why, fix }, { cause })
}

/** The error for code of the user's that threw: what it threw, and where. `cause` is what it threw. */
export function threw(path: string, role: OwnModuleRole, doing: string, cause: unknown): UserError {
  return unusable(path, role, `${doing} threw ${toldWithPlace(cause, path)}`, `correct ${path}`, cause)
}

/** What was thrown, in one line, with the line of the file that it came from where that can be told. */
function toldWithPlace(cause: unknown, path: string): string {
  const told = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  const place = placeIn(path, cause)
  return `${told.split('\n')[0].slice(0, LONGEST_MESSAGE)}${place === null ? '' : ` (line ${place})`}`
}

/** The first line of the file that an error's stack names. */
function placeIn(path: string, cause: unknown): string | null {
  if (!(cause instanceof Error) || cause.stack === undefined) return null
  const file = resolve(path)
  const names = [pathToFileURL(file).pathname, file].map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`(?:${names.join('|')})(?:\\?[^\\s:)]*)?:(\\d+)`).exec(cause.stack)?.[1] ?? null
}

async function ownBytes(path: string, { kind, notFound }: OwnModuleRole): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    throw new UserError(
      {
        code: notFound,
        what: `the ${kind} in ${path} cannot be read`,
        why: code === 'ENOENT' ? `there is no such file; looked for ${resolve(path)}` : `it cannot be opened (${code})`,
        fix: 'give the path of a JavaScript file, relative to the folder you run cutlayer in',
      },
      { cause },
    )
  }
}

function notImported(path: string, role: OwnModuleRole, cause: unknown): UserError {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (/^\.[cm]?ts$/.test(extname(path)) && isUnknownExtension(cause))
    return unusable(
      path,
      role,
      `Node ${process.versions.node} does not run TypeScript, which takes Node 22.18 or newer`,
      'use a newer Node, or compile the file to JavaScript and name that',
      cause,
    )
  // Before Node 20.19 a .js file outside of a package is not taken for a module, whatever is in it.
  if (extname(path) === '.js' && cause instanceof SyntaxError && /'export'|import statement/.test(message))
    return unusable(path, role, `Node takes it for CommonJS: ${message}`, `name the file ${path.replace(/\.js$/, '.mjs')}`, cause)
  // Node keeps the place of these to itself, and shows it only where they end the program.
  if (cause instanceof SyntaxError)
    return unusable(path, role, `importing it threw SyntaxError: ${message}`, `correct it: node ${path} shows where`, cause)
  return threw(path, role, 'importing it', cause)
}

function isUnknownExtension(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_UNKNOWN_FILE_EXTENSION'
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
