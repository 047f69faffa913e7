import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readCertificate, WatchedCertificate, type Certificate } from './certificate.js'
import { EXPIRED, selfSigned, testAuthority, type TestCertificate } from './testing/certificates.js'
import type { UserError } from '../shared/errors.js'

let folder: string
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'cutlayer-certificate-'))))
afterEach(() => rm(folder, { recursive: true, force: true }))

const files = () => ({ cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') })

async function write({ cert, key }: Partial<TestCertificate>): Promise<void> {
  for (const [path, content] of [
    [files().cert, cert],
    [files().key, key],
  ] as const) {
    if (content === undefined) continue
    await writeFile(`${path}.new`, content)
    await rename(`${path}.new`, path)
  }
}

const authority = testAuthority()

test('a certificate says its names, until when it is valid, and who vouches for it', async () => {
  await write(authority.issue(['edge.example', '*.lab.example', '127.0.0.1']))
  const read = readCertificate(files())
  expect(read.names).toEqual(['edge.example', '*.lab.example', '127.0.0.1'])
  expect(read.isSelfSigned).toBe(false)
  expect(read.expires.getTime()).toBeGreaterThan(Date.now())
  const covered = [
    'edge.example',
    'EDGE.example',
    'a.lab.example',
    '127.0.0.1',
    'a.b.lab.example',
    'lab.example',
    'other.example',
    '10.0.0.1',
  ]
  expect(covered.map((host) => read.covers(host))).toEqual([true, true, true, true, false, false, false, false])
  await write(selfSigned(['localhost']))
  expect(readCertificate(files()).isSelfSigned).toBe(true)
})

describe('a certificate is refused by name, and before anything starts,', () => {
  const good = selfSigned(['localhost'])
  const locked = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'a secret' },
  })
  test.each<[string, Partial<TestCertificate>, string, string]>([
    ['whose file is not there', { key: good.key }, 'transport.tls.cert', 'there is no such file'],
    ['whose key is not there', { cert: good.cert }, 'transport.tls.key', 'there is no such file'],
    ['that is none', { ...good, cert: 'MIIB' }, 'transport.tls.cert', 'it holds no certificate in PEM form'],
    [
      'whose key is none',
      { ...good, key: good.cert },
      'transport.tls.key',
      'it holds no private key in PEM form, or one with a passphrase',
    ],
    ['whose key has a passphrase', { ...good, key: locked.privateKey }, 'transport.tls.key', 'with a passphrase'],
    [
      'whose key is that of another',
      { ...good, key: selfSigned(['localhost']).key },
      'transport.tls.key',
      'it is not the key of the certificate',
    ],
    ['that has expired', selfSigned(['localhost'], EXPIRED), 'transport.tls.cert', 'it expired on 2'],
    [
      'that is not valid yet',
      selfSigned(['localhost'], { from: new Date(Date.now() + 3_600_000 * 20) }),
      'transport.tls.cert',
      'it is valid from 2',
    ],
  ])('%s', async (_, content, key, why) => {
    await write(content)
    const read = (): Certificate => readCertificate(files())
    expect(read).toThrow(
      expect.objectContaining({
        code: 'CERTIFICATE_UNUSABLE',
        what: expect.stringMatching(new RegExp(`^${key} names .*, which cannot be used$`)) as string,
        why: expect.stringContaining(why) as string,
      }),
    )
    expect(read).not.toThrow(expect.objectContaining({ message: expect.stringContaining('a secret') as string }))
  })

  test('that is a folder', async () => {
    await write(good)
    expect(() => readCertificate({ ...files(), cert: folder })).toThrow(
      expect.objectContaining({ why: expect.stringContaining('EISDIR') as string }),
    )
  })
})

test('a renewed certificate is taken once both files fit together, and one that does not stay so is told', async () => {
  await write(selfSigned(['localhost']))
  const watched = new WatchedCertificate(files())
  let tell: (heard: Certificate | UserError) => void = () => {}
  const next = (): Promise<Certificate | UserError> => new Promise((resolve) => (tell = resolve))
  try {
    watched.watch(
      (renewed) => tell(renewed),
      (trouble) => tell(trouble),
    )
    const [second, third] = [selfSigned(['edge.example']), selfSigned(['edge.example', 'edge'])]
    const renewed = next()
    await write(second)
    expect(await renewed).toMatchObject({ cert: second.cert, names: ['edge.example'] })
    const trouble = next()
    await write({ cert: third.cert })
    expect(await trouble).toMatchObject({ code: 'CERTIFICATE_UNUSABLE', why: expect.stringContaining('it is not the key') as string })
    const again = next()
    await write({ key: third.key })
    expect(await again).toMatchObject({ cert: third.cert, names: ['edge.example', 'edge'] })
  } finally {
    watched.close()
  }
})
