/**
 * @file Reads the file that holds a token.
 */
import { readFile } from 'node:fs/promises'
import { UserError } from '../shared/errors.js'

const MAX_CHARACTERS = 512

/** @throws UserError BAD_ARGUMENT if the file is missing, empty or too long. */
export async function readTokenFile(path: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): UserError =>
    new UserError(
      {
        code: 'BAD_ARGUMENT',
        what: 'the token cannot be read',
        why,
        fix: `write a long random word into it, as with: openssl rand -hex 24 > ${path}`,
      },
      { cause },
    )
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw refuse(error.message, error)
  })
  const token = text.trim()
  if (token === '' || token.length > MAX_CHARACTERS)
    throw refuse(`${path} holds ${token.length} characters, and a token has 1 to ${MAX_CHARACTERS}`)
  return token
}
