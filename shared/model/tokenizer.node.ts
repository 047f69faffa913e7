/**
 * @file Reads a model folder's tokenizer.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../errors.js'
import { createTokenizer, type Tokenizer } from './tokenizer.js'

/** The largest vocabularies in use have files of some 35 MB. */
const MAX_FILE_BYTES = 256 * 2 ** 20

/**
 * The tokenizer of a model folder in Hugging Face form.
 *
 * @throws UserError TOKENIZER_MISSING without tokenizer.json, MODEL_CORRUPT for a file that does not parse, MODEL_UNSUPPORTED for an unknown kind.
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const tokenizer = await readJson(folder, 'tokenizer.json')
  if (tokenizer === undefined) {
    throw new UserError({
      code: 'TOKENIZER_MISSING',
      what: `the model in ${folder} has no tokenizer`,
      why: 'the folder holds no tokenizer.json',
      fix: "save it there with transformers: AutoTokenizer.from_pretrained('<model>').save_pretrained('<folder>')",
    })
  }
  const [config, specialTokens, model, generation] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json', 'config.json', 'generation_config.json'].map((file) => readJson(folder, file)),
  )
  const chatTemplate = await readFile(folder, 'chat_template.jinja', (text) => text)
  return createTokenizer({ tokenizer, config, specialTokens, model, generation, chatTemplate }, folder)
}

const readJson = (folder: string, file: string): Promise<unknown> => readFile(folder, file, (text) => JSON.parse(text) as unknown)

/** The parsed file, or undefined where there is none. */
async function readFile(folder: string, file: string, parse: (text: string) => unknown): Promise<unknown> {
  const corrupt = (why: string, cause?: unknown): UserError =>
    new UserError(
      {
        code: 'MODEL_CORRUPT',
        what: `the tokenizer in ${folder} cannot be read`,
        why: `${file} ${why}`,
        fix: 'download the model again, or put a sound copy of that file there',
      },
      { cause },
    )
  const handle = await open(join(folder, file)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
    throw corrupt(`cannot be opened (${error.code ?? error.message})`, error)
  })
  if (!handle) return undefined
  try {
    const { size } = await handle.stat()
    if (size > MAX_FILE_BYTES) throw corrupt(`has ${size} bytes, and ${MAX_FILE_BYTES} are the most that are read`)
    return parse(await handle.readFile('utf8'))
  } catch (error) {
    if (error instanceof UserError) throw error
    throw corrupt(`does not parse (${error instanceof Error ? error.message : String(error)})`, error)
  } finally {
    await handle.close()
  }
}
