/**
 * @file What a base model is called in public files, where a path of this machine must not stand.
 */

export interface PublicModelName {
  /** Hub id, or the folder's own name. */
  readonly baseModel: string
  /** Commit, where the folder tells it. */
  readonly revision: string | null
}

/** A folder of the Hugging Face cache, which holds the hub id and the commit. */
const CACHED = /(?:^|\/)models--([\w.-]+)\/snapshots\/([0-9a-f]{40})$/

/** @param folder absolute, with / or \ between its parts. */
export function publicModelName(folder: string): PublicModelName {
  const path = folder.replaceAll('\\', '/').replace(/\/+$/, '')
  const cached = CACHED.exec(path)
  if (cached) return { baseModel: cached[1].replace('--', '/'), revision: cached[2] }
  return { baseModel: path.slice(path.lastIndexOf('/') + 1) || 'model', revision: null }
}
