/**
 * @file Reads JSON objects from files that others wrote.
 */
import { readFile, stat } from 'node:fs/promises'
import { UserError, type ErrorCode } from '../errors.js'

export type JsonObject = Record<string, unknown>

/**
 * The object in a JSON file.
 *
 * @throws UserError with the code `absent` if there is no such file, `corrupt` if it is too large, not JSON, or no object.
 */
export async function requiredJson(path: string, maxBytes: number, absent: ErrorCode, corrupt: ErrorCode): Promise<JsonObject> {
  const json = await optionalJson(path, maxBytes, corrupt)
  if (json) return json
  throw new UserError({
    code: absent,
    what: `${path} is missing`,
    why: 'there is no such file',
    fix: 'give the folder that holds it, with all its files',
  })
}

/** As requiredJson, but null where there is no file. */
export async function optionalJson(path: string, maxBytes: number, corrupt: ErrorCode): Promise<JsonObject | null> {
  const refuse = (why: string, cause?: unknown): UserError =>
    new UserError({ code: corrupt, what: `${path} cannot be read`, why, fix: 'fetch or write the file again' }, { cause })
  let text: string
  try {
    const { size } = await stat(path)
    if (size > maxBytes) throw refuse(`it has ${size} bytes, and at most ${maxBytes} are accepted`)
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof UserError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw refuse(message, error)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw refuse((error as Error).message, error)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw refuse('it does not hold a JSON object')
  return json as JsonObject
}
