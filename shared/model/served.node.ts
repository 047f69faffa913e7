/**
 * @file A model as a server hands it out: a list of its files, made once somebody asks, and their bytes by range.
 */
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../errors.js'
import type { ModelFiles } from '../protocol/messages.js'
import type { ModelFolder } from './model.node.js'
import { MAX_TEXT_FILE_BYTES, TEXT_FILES } from './model-files.js'
import { sha256Of, type PreparedFile, type PreparedWeights } from './prepared-files.node.js'

export interface ServedModel {
  /** The files there are, and what the tensors' digests were made of. */
  list(): Promise<Pick<ModelFiles, 'files' | 'tensors'>>
  /**
   * Bytes of a listed file.
   * @throws UserError MODEL_CORRUPT if it has become shorter, MODEL_NOT_FOUND if it cannot be opened.
   */
  read(file: string, offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>>
}

/** @param openWeights opens the model's prepared files of both sides of the cut, in float32; not before somebody asks for the list */
export function serveModel(model: Pick<ModelFolder, 'folder' | 'sources'>, openWeights: () => Promise<PreparedWeights>): ServedModel {
  let opened: Promise<PreparedWeights> | null = null
  let listed: Promise<Pick<ModelFiles, 'files' | 'tensors'>> | null = null
  const weights = (): Promise<PreparedWeights> => (opened ??= openWeights())
  return {
    list: () => (listed ??= weights().then((files) => listOf(model, files))),
    async read(file, offset, bytes) {
      const { files, folder } = await weights()
      const path = join(files.has(file) ? folder : model.folder, file)
      const handle = await open(path, 'r').catch((cause: unknown) => {
        throw gone(file, 'it can no longer be opened', cause)
      })
      try {
        const piece = new Uint8Array(bytes)
        let filled = 0
        while (filled < bytes) {
          const { bytesRead } = await handle.read(piece, filled, bytes - filled, offset + filled)
          if (bytesRead === 0) throw gone(file, 'it has become shorter since the run began', null)
          filled += bytesRead
        }
        return piece
      } finally {
        await handle.close()
      }
    },
  }
}

async function listOf(
  { folder, sources }: Pick<ModelFolder, 'folder' | 'sources'>,
  weights: PreparedWeights,
): Promise<Pick<ModelFiles, 'files' | 'tensors'>> {
  const files: [string, PreparedFile][] = [...weights.files]
  for (const file of TEXT_FILES) {
    const path = join(folder, file)
    const found = await stat(path).catch(() => null)
    // A file that is too large to be read here is of no use to a client either.
    if (found?.isFile() && found.size <= MAX_TEXT_FILE_BYTES) files.push([file, { bytes: found.size, sha256: await sha256Of(path) }])
  }
  return {
    files: Object.fromEntries(files.map(([name, { bytes, sha256 }]) => [name, { bytes, sha256 }])),
    tensors: Object.fromEntries(
      sources.map(({ name, dtype, shape, bytesSha256 }) => [name, { dtype, shape: [...shape], sha256: bytesSha256 }]),
    ),
  }
}

function gone(file: string, why: string, cause: unknown): UserError {
  return new UserError(
    {
      code: 'MODEL_CORRUPT',
      what: `the server cannot give ${file} of its model away`,
      why,
      fix: 'start the server again, and leave its model and its cache as they are while it runs',
    },
    { cause },
  )
}
