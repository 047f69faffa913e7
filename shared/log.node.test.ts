import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fileLog } from './log.node.js'

test('a file log has a JSON line per entry, with its time in UTC and without secrets', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-log-'))
  try {
    const path = join(folder, 'logs', 'server.log')
    const log = fileLog(path, {}).child({ round: 3 })
    log.info({ client: 'client-0', token: 'secret', hello: { token: 'secret' } }, 'client joined')
    log.debug({}, 'not at this level')
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
    expect(lines).toHaveLength(1)
    expect(JSON.parse(lines[0])).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
      round: 3,
      client: 'client-0',
      token: '[Redacted]',
      hello: { token: '[Redacted]' },
      msg: 'client joined',
    })
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a file log that is full is set aside, within what the environment allows', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-log-'))
  try {
    const log = fileLog(join(folder, 'server.log'), { CUTLAYER_LOG_MAX_BYTES: '4096', CUTLAYER_LOG_FILES: '3' })
    for (let round = 1; round <= 200; round++) log.info({ round, padding: 'x'.repeat(100) }, 'round over')
    log.close()
    expect((await readdir(folder)).sort()).toEqual(['server.log', 'server.log.1', 'server.log.2'])
    const texts = await Promise.all(['server.log.2', 'server.log.1', 'server.log'].map((name) => readFile(join(folder, name), 'utf8')))
    for (const text of texts) expect(text.length).toBeLessThanOrEqual(4096)
    const rounds = texts.flatMap((text) => text.trimEnd().split('\n')).map((line) => (JSON.parse(line) as { round: number }).round)
    expect(rounds).toEqual(Array.from(rounds, (_, index) => 200 - rounds.length + 1 + index))
  } finally {
    await rm(folder, { recursive: true })
  }
})
