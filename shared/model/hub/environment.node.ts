/**
 * @file What the environment says of the hub: the same variables with the same meaning as in Python's huggingface_hub.
 *
 * Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { UserError } from '../../errors.js'

const DEFAULT_ENDPOINT = 'https://huggingface.co'
const DEFAULT_TIMEOUT_SECONDS = 10
const MAX_TIMEOUT_SECONDS = 86_400
const MAX_TOKEN_BYTES = 65_536

export interface HubEnvironment {
  /** Where all repositories are cached: one folder `models--<org>--<name>` each. Absolute; need not exist. */
  readonly cache: string
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Whether no host may be asked. */
  readonly isOffline: boolean
  /** How long the hub may take to answer what is asked about a file. */
  readonly metadataTimeoutSeconds: number
  /** How long a download may stand still. */
  readonly downloadTimeoutSeconds: number
  /** Whether the hub is not told which versions are in use here. */
  readonly isTelemetryOff: boolean
  /** Reads the token, when it is first needed; null without one. It goes into no error and no log. */
  token(): Promise<string | null>
}

/** @throws UserError BAD_ARGUMENT for an endpoint that is no http address. */
export function hubEnvironment(environment: NodeJS.ProcessEnv = process.env): HubEnvironment {
  const home = expand(environment.HF_HOME) ?? join(expand(environment.XDG_CACHE_HOME) ?? join(homedir(), '.cache'), 'huggingface')
  const tokenFile = expand(environment.HF_TOKEN_PATH) ?? join(home, 'token')
  return {
    cache: resolve(expand(environment.HF_HUB_CACHE) ?? expand(environment.HUGGINGFACE_HUB_CACHE) ?? join(home, 'hub')),
    endpoint: endpointOf(environment.HF_ENDPOINT),
    isOffline: isTrue(environment.HF_HUB_OFFLINE || environment.TRANSFORMERS_OFFLINE),
    metadataTimeoutSeconds: secondsOf(environment.HF_HUB_ETAG_TIMEOUT),
    downloadTimeoutSeconds: secondsOf(environment.HF_HUB_DOWNLOAD_TIMEOUT),
    isTelemetryOff: ['HF_HUB_DISABLE_TELEMETRY', 'DISABLE_TELEMETRY', 'DO_NOT_TRACK'].some((name) => isTrue(environment[name])),
    async token() {
      return cleanToken(environment.HF_TOKEN) ?? cleanToken(environment.HUGGING_FACE_HUB_TOKEN) ?? (await storedToken(tokenFile))
    },
  }
}

/** Unset and empty mean the same. */
function expand(path: string | undefined): string | null {
  if (!path) return null
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path
}

export function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((value ?? '').toUpperCase())
}

function secondsOf(value: string | undefined): number {
  const seconds = Number(value || DEFAULT_TIMEOUT_SECONDS)
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, MAX_TIMEOUT_SECONDS) : DEFAULT_TIMEOUT_SECONDS
}

function endpointOf(value: string | undefined): string {
  const endpoint = (value || DEFAULT_ENDPOINT).trim().replace(/\/+$/, '')
  const refuse = (why: string): UserError =>
    new UserError({
      code: 'BAD_ARGUMENT',
      what: 'HF_ENDPOINT cannot be used',
      why,
      fix: `set it to an address such as ${DEFAULT_ENDPOINT}`,
    })
  if (!URL.canParse(endpoint)) throw refuse('it is not an address')
  const { protocol, username, password, search, hash } = new URL(endpoint)
  if (protocol !== 'https:' && protocol !== 'http:') throw refuse('it is not an address that begins with https:// or http://')
  // It is shown in messages, so it must not hold a secret.
  if (username || password || search || hash) throw refuse('it has more than a host and a path')
  return endpoint
}

/** A token that cannot stand in a header is none; pasted line ends go. */
function cleanToken(token: string | undefined): string | null {
  const clean = (token ?? '').replaceAll(/[\r\n]/g, '').trim()
  return /^[\x21-\x7e]+$/.test(clean) ? clean : null
}

async function storedToken(file: string): Promise<string | null> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.length > MAX_TOKEN_BYTES ? null : cleanToken(text)
}
