import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { packageRoot } from '../shared/version.node.js'
import { clientSecret } from './identity.node.js'

let folder: string
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'cutlayer-identity-'))))
afterEach(() => rm(folder, { recursive: true, force: true }))

const URL_ = 'http://127.0.0.1:7700'

describe('the secret of a client', () => {
  test('is the same in every process that shares a state folder, also of those that start at once', async () => {
    const state = join(folder, 'state')
    const module = join(packageRoot(), 'dist', 'client', 'identity.node.js')
    const program = `import(${JSON.stringify(module)}).then(({ clientSecret }) => console.log(clientSecret('${URL_}', 'ada', ${JSON.stringify(state)})))`
    const told = await Promise.all(Array.from({ length: 4 }, () => promisify(execFile)(process.execPath, ['-e', program])))
    expect(new Set(told.map(({ stdout }) => stdout.trim()))).toEqual(new Set([clientSecret(URL_, 'ada', state)]))
    expect(await readdir(state)).toEqual(['client-key'])
  })

  test('is another one for each server, id and state folder', () => {
    const secrets = [
      clientSecret(URL_, 'ada', join(folder, 'a')),
      clientSecret(URL_, 'bob', join(folder, 'a')),
      clientSecret('http://127.0.0.1:7701', 'ada', join(folder, 'a')),
      clientSecret(URL_, 'ada', join(folder, 'b')),
    ]
    expect(new Set(secrets).size).toBe(4)
    for (const secret of secrets) expect(secret).toMatch(/^[0-9a-f]{64}$/)
    expect(clientSecret(`${URL_}/`, 'ada', join(folder, 'a'))).toBe(secrets[0])
  })

  test('comes from a key that others on the machine cannot read, and is not in it', async () => {
    const secret = clientSecret(URL_, 'ada', folder)
    const path = join(folder, 'client-key')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readFile(path, 'utf8')).not.toContain(secret)
  })

  test('is one for this process alone where no key can be kept', async () => {
    const state = join(folder, 'no-folder')
    await writeFile(state, '')
    expect(clientSecret(URL_, 'ada', state)).toMatch(/^[0-9a-f]{64}$/)
    await writeFile(join(folder, 'client-key'), 'no key')
    expect(clientSecret(URL_, 'ada', folder)).toMatch(/^[0-9a-f]{64}$/)
  })
})
