import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-test-atomic-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Writes folders of files, several at a time and one after the other, until it is ended in the middle of it. */
const WRITER = `
  import { replaceFiles } from '${new URL('../../dist/shared/model/atomic-file.node.js', import.meta.url).href}'
  import { writeNewFolder } from '${new URL('../../dist/shared/model/new-folder.node.js', import.meta.url).href}'
  const [target, afterMs] = process.argv.slice(1)
  const files = new Map([...'abcdef'].map((name) => [name, new Uint8Array(10_000)]))
  setTimeout(() => process.exit(7), Number(afterMs))
  const writeForever = async (writer) => {
    for (let turn = 0; ; turn++) await writeNewFolder(target + '/' + writer + '-' + turn, (folder) => replaceFiles(folder, files))
  }
  await Promise.all([0, 1, 2].map(writeForever))
`

test('processes that end in the middle of writing leave whole folders, and nothing else', { timeout: 60_000 }, async () => {
  // More of them than cores: only a busy machine keeps threads of a process at work while it ends.
  const targets = Array.from({ length: 16 }, (_, process) => join(folder, String(process)))
  await Promise.all(
    targets.map(async (target, process) => {
      const writing = promisify(execFile)('node', ['--input-type=module', '-e', WRITER, target, String(400 + 20 * process)])
      await expect(writing).rejects.toMatchObject({ code: 7 })
    }),
  )
  const left = await Promise.all(targets.map(async (target) => (await readdir(target)).map((name) => join(target, name))))
  expect(left.flat().length).toBeGreaterThan(0)
  for (const path of left.flat()) expect([path, await readdir(path)]).toEqual([expect.stringMatching(/\d-\d+$/), [...'abcdef']])
})
