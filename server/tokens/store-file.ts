/**
 * @file The file of a server's tokens: read whole, changed by one process at a time, replaced at once, and for its owner alone.
 */
import { readFileSync, statSync } from 'node:fs'
import { UserError } from '../../shared/errors.js'
import { writeAtomically } from '../../shared/model/atomic-file.node.js'
import { whileLocked } from '../../shared/model/hub/lock.node.js'
import { asOutputError } from '../../shared/model/new-folder.node.js'
import { EMPTY_STORE, TokenStore } from './store.js'

/** Room for tens of thousands of clients. */
const MAX_FILE_BYTES = 16 * 2 ** 20

/**
 * @returns null if it is a file with something else in it, such as a token that all clients share.
 * @throws UserError BAD_ARGUMENT if it cannot be read, or is a store that is damaged or of a newer version.
 */
export function readStore(path: string): TokenStore | null {
  const text = readText(path)
  return text.trimStart().startsWith('{') ? parseStore(text, path) : null
}

/** Whether there is such a file. */
export function storeExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/**
 * Changes the store while no other process does; one that is not there yet is empty.
 *
 * @param change returns the store as it is to be, with whatever else the caller wants to know.
 * @throws UserError BAD_ARGUMENT as `readStore`, OUTPUT_UNWRITABLE, and what `change` throws; the file then stays as it was.
 */
export async function changeStore<Result extends { readonly store: TokenStore }>(
  path: string,
  change: (store: TokenStore) => Result,
): Promise<Result> {
  try {
    return await whileLocked(`${path}.lock`, {}, async () => {
      const before = storeExists(path) ? readStore(path) : EMPTY_STORE
      if (before === null) throw unusable(path, 'it holds something else')
      const result = change(before)
      await writeAtomically(path, async (handle) => {
        // Before there is anything in it.
        await handle.chmod(0o600)
        await handle.writeFile(`${JSON.stringify(result.store, null, 2)}\n`)
      })
      return result
    })
  } catch (error) {
    throw asOutputError(path, error)
  }
}

function readText(path: string): string {
  try {
    const stats = statSync(path)
    if (!stats.isFile()) throw unusable(path, 'it is not a file')
    if (stats.size > MAX_FILE_BYTES) throw unusable(path, `it has ${stats.size} bytes, and a store has at most ${MAX_FILE_BYTES}`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof UserError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    throw unusable(path, code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code ?? message})`, error)
  }
}

function parseStore(text: string, path: string): TokenStore {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    // What the parser says may quote the file.
    throw unusable(path, 'it is no whole JSON', error)
  }
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined
  if (typeof version === 'number' && version > 1)
    throw unusable(path, `it is of version ${version}, which a newer cutlayer wrote; this one reads version 1`)
  const result = TokenStore.safeParse(json)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw unusable(path, `it has a wrong ${issue.path.join('.') || 'form'}: ${issue.message}`)
}

function unusable(path: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'BAD_ARGUMENT',
      what: `${path} is no file of tokens`,
      why,
      fix: `give the path of a file that \`cutlayer token create NAME --file ${path}\` made`,
    },
    { cause },
  )
}
