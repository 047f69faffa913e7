import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { packageRoot, packageVersion } from '../shared/version.node.js'

/** Runs the built program in a folder of its own. */
async function cutlayer(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-cli-'))
  try {
    return await new Promise((resolve) => {
      const child = execFile(process.execPath, [join(packageRoot(), 'dist', 'cli.js'), ...args], { cwd: folder }, (_, stdout, stderr) =>
        resolve({ status: child.exitCode!, stdout, stderr }),
      )
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('the program tells its version', async () => {
  expect(await cutlayer('--version')).toEqual({ status: 0, stdout: `${packageVersion()}\n`, stderr: '' })
})

test('the program ends with the first digit of the code, and the envelope is the last line', async () => {
  const { status, stdout } = await cutlayer('inspect', 'nothing', '--format', 'json')
  expect(status).toBe(5)
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({
    status: 'error',
    exit_code: 520,
    error: { code: 'RUN_NOT_FOUND' },
  })
})

test('without a word the program shows its commands', async () => {
  const { status, stdout } = await cutlayer()
  expect(status).toBe(0)
  for (const command of ['inspect', 'list', 'validate']) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'))
})
