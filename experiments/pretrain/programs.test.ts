import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-programs-'))
})
afterAll(() => rm(folder, { recursive: true }))

function run(program: string, ...args: string[]) {
  return spawnSync(process.execPath, [join(root, 'dist/experiments/pretrain', program), ...args], { cwd: root, encoding: 'utf8' })
}

describe('pretrain.js', () => {
  test('trains by a recipe, and leaves a model folder with its card', async () => {
    const recipe = (await readFile(join(root, 'experiments/pretrain/config.yaml'), 'utf8'))
      .replace(/n_embd: \d+/, 'n_embd: 8')
      .replace(/n_layer: \d+/, 'n_layer: 1')
      .replace(/n_head: \d+/, 'n_head: 2')
      .replace(/ steps: \d+/, ' steps: 2')
    await writeFile(join(folder, 'recipe.yaml'), recipe)
    const out = join(folder, 'model')
    const { stdout, stderr, status } = run('pretrain.js', join(folder, 'recipe.yaml'), '--out', out)
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    const [milestone, outcome, ...more] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(more).toEqual([])
    expect(milestone).toMatchObject({ step: 2, steps: 2, isBest: true })
    const { loss } = outcome['heldOut'] as { loss: number }
    // Two steps, the first of rate 0, leave it where it began: at the uniform guess over 4096.
    expect(Math.abs(loss - Math.log(4096))).toBeLessThan(0.05)
    expect((await readdir(out)).sort()).toEqual(
      ['README.md', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].sort(),
    )
    expect(await readFile(join(out, 'README.md'), 'utf8')).toContain(`| ${loss.toFixed(4)} |`)
  })

  test.each([
    ['a recipe that is not there', ['nowhere.yaml'], 'CONFIG_NOT_FOUND'],
    ['no recipe', [], 'BAD_ARGUMENT'],
    ['a time that is none', ['experiments/pretrain/config.yaml', '--minutes', 'soon'], 'BAD_ARGUMENT'],
    ['an unknown option', ['experiments/pretrain/config.yaml', '--hours', '1'], 'BAD_ARGUMENT'],
  ])('refuses %s', (_, args, code) => {
    const { stdout, stderr, status } = run('pretrain.js', ...args)
    expect(stderr).toMatch(new RegExp(`^error: ${code}\nwhat: .*\nwhy: .*\nfix: .*\n$`))
    expect({ stdout, status }).toEqual({ stdout: '', status: 5 })
  })
})
