/**
 * @file The token that admits a client: a secret in a file, never in a config, a log or a command line.
 */
import { open } from 'node:fs/promises'
import { UserError } from './errors.js'

/** What a message may carry; see messages.ts. */
const MAX_TOKEN_CHARACTERS = 512
/** Room for the white space around a token. */
const MAX_FILE_BYTES = 4096

/** The file's text without white space around it. @throws UserError BAD_ARGUMENT if there is no token in it. The token is in no error. */
export async function readToken(path: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): UserError =>
    new UserError(
      {
        code: 'BAD_ARGUMENT',
        what: `there is no token to read in ${path}`,
        why,
        fix: `give the path of a file with the token that the server and its clients share, a long random word: openssl rand -hex 24 > ${path}`,
      },
      { cause },
    )
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code === 'ENOENT' ? 'there is no such file' : `it cannot be opened (${error.code ?? error.message})`, error)
  })
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw refuse('it is not a file')
    if (stats.size > MAX_FILE_BYTES) throw refuse(`it has ${stats.size} bytes, and a token is far shorter`)
    const token = (await file.readFile('utf8')).trim()
    if (token === '') throw refuse('the file is empty')
    if (token.length > MAX_TOKEN_CHARACTERS || /\s/.test(token))
      throw refuse(`a token is one word of at most ${MAX_TOKEN_CHARACTERS} characters`)
    return token
  } finally {
    await file.close()
  }
}
