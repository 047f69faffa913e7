import { mkdtemp, readFile, rm } from 'node:fs/promises'
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
