/** @file Tests of what the environment says of the hub. Expected values: huggingface_hub's documentation of environment variables. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hubEnvironment } from './environment.node.js'
import { checkRevision, hubIdProblem, isPath } from './id.js'

describe('the cache', () => {
  test.each([
    [{}, join(homedir(), '.cache', 'huggingface', 'hub')],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
    [{ XDG_CACHE_HOME: '/x', HF_HOME: '/home' }, '/home/hub'],
    [{ HF_HOME: '~/hf' }, join(homedir(), 'hf', 'hub')],
    [{ HF_HOME: '/home', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
    [{ HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/cache' }, '/cache'],
    [{ HF_HUB_CACHE: '', HF_HOME: '/home' }, '/home/hub'],
  ])('of %j is %s', (environment, cache) => {
    expect(hubEnvironment(environment).cache).toBe(cache)
  })
})

describe('the endpoint', () => {
  test('is the hub, or what HF_ENDPOINT says without a slash at its end', () => {
    expect(hubEnvironment({}).endpoint).toBe('https://huggingface.co')
    expect(hubEnvironment({ HF_ENDPOINT: 'http://mirror.test/hf/' }).endpoint).toBe('http://mirror.test/hf')
  })

  test.each(['mirror.test', 'ftp://mirror.test', 'https://user:secret@mirror.test', 'https://mirror.test/?key=1'])('is not %s', (value) => {
    expect(() => hubEnvironment({ HF_ENDPOINT: value })).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }))
  })

  test('that holds a secret is refused without it', () => {
    expect(() => hubEnvironment({ HF_ENDPOINT: 'https://user:secret@mirror.test' })).not.toThrow(/secret/)
  })
})

test.each(['1', 'on', 'Yes', 'TRUE'])('%s is true', (value) => {
  expect(hubEnvironment({ HF_HUB_OFFLINE: value }).isOffline).toBe(true)
  expect(hubEnvironment({ TRANSFORMERS_OFFLINE: value }).isOffline).toBe(true)
  expect(hubEnvironment({ DO_NOT_TRACK: value }).isTelemetryOff).toBe(true)
  expect(hubEnvironment({ HF_HUB_DISABLE_TELEMETRY: value }).isTelemetryOff).toBe(true)
})

test.each(['', '0', 'no', 'off', 'FALSE', 'true!'])('%j is not true', (value) => {
  expect(hubEnvironment({ HF_HUB_OFFLINE: value, DO_NOT_TRACK: value })).toMatchObject({ isOffline: false, isTelemetryOff: false })
})

test('timeouts are seconds, 10 unless they are said', () => {
  expect(hubEnvironment({})).toMatchObject({ metadataTimeoutSeconds: 10, downloadTimeoutSeconds: 10 })
  expect(hubEnvironment({ HF_HUB_ETAG_TIMEOUT: '3', HF_HUB_DOWNLOAD_TIMEOUT: '60' })).toMatchObject({
    metadataTimeoutSeconds: 3,
    downloadTimeoutSeconds: 60,
  })
  expect(hubEnvironment({ HF_HUB_ETAG_TIMEOUT: 'soon', HF_HUB_DOWNLOAD_TIMEOUT: '-1' })).toMatchObject({
    metadataTimeoutSeconds: 10,
    downloadTimeoutSeconds: 10,
  })
})

test('HF_TOKEN beats its old name, and both the stored token', async () => {
  const home = await mkdtemp(join(tmpdir(), 'cutlayer-token-'))
  try {
    expect(await hubEnvironment({ HF_HOME: home }).token()).toBeNull()
    await writeFile(join(home, 'token'), ' hf_stored\n')
    await writeFile(join(home, 'elsewhere'), 'hf_elsewhere')
    const environment = { HF_HOME: home, HF_TOKEN_PATH: join(home, 'elsewhere'), HUGGING_FACE_HUB_TOKEN: 'hf_old', HF_TOKEN: 'hf_new\n' }
    expect(await hubEnvironment(environment).token()).toBe('hf_new')
    expect(await hubEnvironment({ ...environment, HF_TOKEN: '' }).token()).toBe('hf_old')
    expect(await hubEnvironment({ ...environment, HF_TOKEN: '', HUGGING_FACE_HUB_TOKEN: '' }).token()).toBe('hf_elsewhere')
    expect(await hubEnvironment({ HF_HOME: home }).token()).toBe('hf_stored')
  } finally {
    await rm(home, { recursive: true })
  }
})

describe('a name', () => {
  test.each(['gpt2', 'openai-community/gpt2', 'HuggingFaceTB/SmolLM2-135M', 'a_b/c.d-e'])('%s is a hub id', (name) => {
    expect([isPath(name), hubIdProblem(name)]).toEqual([false, null])
  })

  test.each(['./gpt2', '../gpt2', '/models/gpt2', '~/gpt2', 'C:\\gpt2', 'models/gpt2/', 'a/b/c'])('%s is a path', (name) => {
    expect(isPath(name)).toBe(true)
  })

  test.each(['org/', 'org/-name', 'name.', 'a--b', 'a..b', 'model.git', 'org/na me', '', 'x'.repeat(97)])('%j is no hub id', (name) => {
    expect(hubIdProblem(name)).not.toBeNull()
  })
})

test.each(['main', 'v1.0', 'refs/pr/1', 'feature/x+y', '0'.repeat(40)])('%s is a revision', (revision) => {
  expect(checkRevision(revision)).toBe(revision)
})

test.each(['', '../main', '/main', 'a//b', 'a/../b', 'main/', 'a b', 'a\\b', '-x', 'refs/.hidden', 'x.lock'])(
  '%j is no revision',
  (revision) => {
    expect(() => checkRevision(revision)).toThrow(expect.objectContaining({ code: 'CONFIG_VALUE' }))
  },
)
