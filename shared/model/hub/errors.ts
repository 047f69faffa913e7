/**
 * @file What to say when the hub does not give what was asked for.
 */
import { UserError } from '../../errors.js'

/** What a request was about, for messages. */
export interface HubSubject {
  /** Without a slash at its end. */
  readonly endpoint: string
  readonly id: string
  readonly revision: string
  /** null: the model as a whole. */
  readonly file: string | null
  /** Whether a token went with the request. */
  readonly hasToken: boolean
}

/** The parts of a response that tell why. */
export interface HubRefusal {
  readonly status: number
  /** X-Error-Code: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound. */
  readonly errorCode: string | null
  /** X-Error-Message. */
  readonly errorMessage: string | null
}

/**
 * The hub's answer as an error. A hub answers 401 for models that do not exist as it does for private ones, so that nobody learns which are there.
 * Source: huggingface_hub, `hf_raise_for_status`.
 */
export function refusalError({ endpoint, id, revision, file, hasToken }: HubSubject, refusal: HubRefusal): UserError {
  const { status, errorCode, errorMessage } = refusal
  const page = `${endpoint}/${id}`
  const setToken = 'set HF_TOKEN to a token of an account that may read it'
  if (errorCode === 'GatedRepo') {
    return new UserError({
      code: 'MODEL_ACCESS_DENIED',
      what: `${id} may not be downloaded yet`,
      why: `its owners give access on request, and the hub answers ${status} ${hasToken ? 'to the account of your token' : 'to requests without a token'}`,
      fix: `open ${page}, ask for access there, and ${setToken}`,
    })
  }
  if (errorCode === 'DisabledRepo' || errorMessage === 'Access to this resource is disabled.') {
    return new UserError({
      code: 'MODEL_ACCESS_DENIED',
      what: `${id} cannot be downloaded`,
      why: 'the hub has disabled it',
      fix: `see ${page}, or use another model`,
    })
  }
  if (errorCode === 'RevisionNotFound') {
    return new UserError({
      code: 'MODEL_NOT_FOUND',
      what: `${id} has no revision ${revision}`,
      why: `the hub knows no branch, tag or commit of that name`,
      fix: `see ${page}/tree/main for the branches, and set model.revision to one of them, or leave it out`,
    })
  }
  if (errorCode === 'EntryNotFound') return fileMissing({ id, revision, file: file ?? 'the file' })
  if (status === 401 && hasToken && /invalid (credentials|user)/i.test(errorMessage ?? '')) {
    return new UserError({
      code: 'MODEL_ACCESS_DENIED',
      what: `the hub refuses the token that was sent for ${id}`,
      why: 'it is not, or no longer, a valid one',
      fix: `set HF_TOKEN to a valid one (${endpoint}/settings/tokens), or remove it for a public model`,
    })
  }
  if (errorCode === 'RepoNotFound' || status === 401 || status === 404) {
    return new UserError({
      code: 'MODEL_NOT_FOUND',
      what: `there is no model ${id}`,
      why: `the hub at ${endpoint} answers ${status}: it has no such model, or it is private; and there is no folder of that name here`,
      fix: `check the spelling; for a private model ${setToken}`,
    })
  }
  if (status === 403) {
    return new UserError({
      code: 'MODEL_ACCESS_DENIED',
      what: `${id} may not be downloaded`,
      why: `the hub answers 403 ${hasToken ? 'to the account of your token' : 'to requests without a token'}`,
      fix: `see ${page}, and ${setToken}`,
    })
  }
  return new UserError({
    code: 'HUB_FAILED',
    what: `${file ?? id} cannot be fetched from the hub`,
    why: status === 429 ? `${endpoint} answers 429: too many requests` : `${endpoint} answers ${status}`,
    fix: status === 429 ? 'wait some minutes and start again; with HF_TOKEN set more requests are allowed' : 'start again later',
  })
}

export function fileMissing({ id, revision, file }: Pick<HubSubject, 'id' | 'revision'> & { readonly file: string }): UserError {
  return new UserError({
    code: 'MODEL_NOT_FOUND',
    what: `${id} has no ${file}`,
    why: `revision ${revision} holds no such file`,
    fix: 'use a model in the form that transformers saves, or another revision',
  })
}

export function unreachable(endpoint: string, { id, file }: Pick<HubSubject, 'id' | 'file'>, why: string, cause?: unknown): UserError {
  if (file !== null) {
    return new UserError(
      {
        code: 'HUB_UNREACHABLE',
        what: `${file} of ${id} cannot be downloaded`,
        why: `the connection to ${endpoint} fails again and again (${why})`,
        fix: 'check the connection, and start again: it goes on where it stopped',
      },
      { cause },
    )
  }
  return new UserError(
    {
      code: 'HUB_UNREACHABLE',
      what: `${id} cannot be looked up on the hub`,
      why: `${endpoint} is not reached (${why}), and there is no folder of that name here`,
      fix: 'check the connection and HF_ENDPOINT, or give a folder that is here',
    },
    { cause },
  )
}

export function notCached(cache: string, id: string, revision: string, why: string, file: string | null = null): UserError {
  return new UserError({
    code: 'MODEL_NOT_FOUND',
    what: file === null ? `there is no model ${id}` : `${file} of ${id} is not in the cache`,
    why: `${file === null ? 'there is no folder of that name here, ' : ''}${why}, and ${cache} holds no ${file === null ? 'copy' : 'such file'} of its revision ${revision}`,
    fix: 'give a folder that is here, or go online (unset HF_HUB_OFFLINE) so that it can be downloaded',
  })
}
