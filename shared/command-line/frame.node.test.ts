import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { UserError } from '../errors.js'
import { type CommandContext, type CommandDefinition, defineCommand, integerFlag, wordFlag } from './command.node.js'
import { runCommandLine } from './frame.node.js'

interface Ending {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
  readonly ended: readonly number[]
}

async function type(
  command: CommandDefinition,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  isTTY = false,
): Promise<Ending> {
  const written = { stdout: '', stderr: '' }
  const ended: number[] = []
  const stream = (name: keyof typeof written) => ({ isTTY, columns: 80, write: (text: string) => (written[name] += text) })
  const streams = { stdout: stream('stdout'), stderr: stream('stderr'), environment }
  const frame = { version: '1.2.3', summary: 'A program.', commands: [command] }
  const status = await runCommandLine(frame, args, streams, (code) => ended.push(code))
  return { status, ...written, ended }
}

const lastLine = (text: string): unknown => JSON.parse(text.trimEnd().split('\n').at(-1)!)

const greet = defineCommand({
  usage: 'greet <name> [others...]',
  summary: 'greet someone',
  example: 'cutlayer greet ada',
  flags: { '--times <n>': 'how often', '--dry-run': 'do nothing', '--mood <word>': 'how' },
  options: z.object({
    times: integerFlag(1, 9).default(1),
    dryRun: z.boolean().default(false),
    mood: wordFlag(['glad', 'sad']).optional(),
  }),
  async run(context, names, options) {
    context.event({ event: 'greeting', names }, `greeting ${names.length}`)
    context.warn('be polite')
    return { data: { names, ...options }, text: `hello ${names.join(' and ')}` }
  },
})

function failing(error: unknown): CommandDefinition {
  return defineCommand({
    usage: 'bench fail',
    summary: 'fail',
    example: 'cutlayer bench fail',
    options: z.object({}),
    run: () => Promise.reject(error instanceof Error ? error : new Error(String(error))),
  })
}

describe('a command that succeeds', () => {
  test('writes its text to stdout, and what happened to stderr', async () => {
    expect(await type(greet, ['greet', 'ada', 'bob'])).toEqual({
      status: 0,
      stdout: 'hello ada and bob\n',
      stderr: 'greeting 2\nwarning: be polite\n',
      ended: [],
    })
  })

  test.each([
    [['greet', 'ada', '--format', 'json', '--times', '3', '--dry-run']],
    [['--format=json', 'greet', '--times=3', 'ada', '--dry-run']],
  ])('writes JSON lines and at last the envelope for %j', async (args) => {
    const { status, stdout, stderr } = await type(greet, args)
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { event: 'greeting', names: ['ada'] },
      { event: 'warning', message: 'be polite' },
      { schema_version: 1, status: 'ok', exit_code: 0, data: { names: ['ada'], times: 3, dryRun: true } },
    ])
  })

  test.each([[['greet', '--help']], [['greet', '--help', '--format', 'json']]])('shows its example for %j', async (args) => {
    const { status, stdout } = await type(greet, args)
    expect(status).toBe(0)
    expect(stdout).toContain('cutlayer greet ada')
  })

  test('lists what there is within 80 columns', async () => {
    const summary = 'a greeting that is told at such a length that it does not fit beside the name of its command'
    const { stdout } = await type({ ...greet, summary }, ['--help'])
    expect(stdout).toContain('  greet <name> ')
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })
})

describe('a command line that no command knows', () => {
  test.each([
    [['gret', 'ada'], "unknown command 'gret'", 'did you mean greet? see cutlayer --help'],
    [['greet'], "missing required argument 'name'", 'see cutlayer greet --help'],
    [['greet', 'ada', '--tims', '3'], "unknown option '--tims'", 'did you mean --times? see cutlayer greet --help'],
    [['greet', 'ada', '--times'], "option '--times <n>' argument missing", 'see cutlayer greet --help'],
    [['greet', 'ada', '--times', '12'], 'it says "12", and a whole number from 1 to 9 is expected', 'correct --times, or leave it out'],
    [['greet', 'ada', '--mood', 'so-so'], 'it says "so-so", and glad or sad is expected', 'correct --mood, or leave it out'],
  ])('as %j ends with status 5, and the nearest that it knows', async (args, why, fix) => {
    const text = await type(greet, args)
    expect([text.status, text.stdout]).toEqual([5, ''])
    expect(text.stderr.split('\n').slice(-4)).toEqual([expect.stringMatching(/^what: {2}./), `why:   ${why}`, `fix:   ${fix}`, ''])
    const json = await type(greet, [...args.slice(0, 1), '--format', 'json', ...args.slice(1)])
    expect(json.status).toBe(5)
    expect(lastLine(json.stdout)).toMatchObject({ status: 'error', exit_code: 501, data: null, error: { code: 'BAD_ARGUMENT', why, fix } })
  })

  test('asks for the verb where only a group is typed', async () => {
    const { status, stderr } = await type(failing(new Error('never')), ['bench'])
    expect(status).toBe(5)
    expect(stderr).toContain('fix:   add one of fail')
  })

  test('shows an example of a group, too, and what it is in the list of all', async () => {
    const frame = failing(new Error('never'))
    expect((await type(frame, ['bench', '--help'])).stdout).toContain('Example:\n  cutlayer bench fail')
    expect((await type(frame, ['--help'])).stdout).toContain('see cutlayer bench --help')
  })
})

describe('a command that fails', () => {
  const report = { code: 'PORT_IN_USE', what: 'cannot listen', why: 'port 1 is taken', fix: 'take another' } as const

  test('says what, why and fix, and exits with the first digit', async () => {
    const { status, stdout, stderr } = await type(failing(new UserError(report)), ['bench', 'fail'])
    expect([status, stdout]).toEqual([6, ''])
    expect(stderr).toBe('error: PORT_IN_USE (601)\nwhat:  cannot listen\nwhy:   port 1 is taken\nfix:   take another\n')
  })

  test('says the same in JSON', async () => {
    const { stdout } = await type(failing(new UserError(report)), ['bench', 'fail', '--format', 'json'])
    expect(lastLine(stdout)).toEqual({ schema_version: 1, status: 'error', exit_code: 601, data: null, error: report })
  })

  test('because of a bug says so, with the stack', async () => {
    const { status, stderr } = await type(failing(new TypeError('x is not a function')), ['bench', 'fail'])
    expect(status).toBe(1)
    expect(stderr).toMatch(/TypeError: x is not a function\n +at /)
    expect(stderr).toContain('error: BUG (100)')
  })
})

describe('Ctrl-C', () => {
  const press = (): boolean => process.emit('SIGINT', 'SIGINT')
  const working = (graceful: boolean, work: (context: CommandContext) => Promise<void>): CommandDefinition =>
    defineCommand({
      usage: 'work',
      summary: 'work',
      example: 'cutlayer work',
      graceful,
      options: z.object({}),
      async run(context) {
        await work(context)
        return { data: { saved: true }, text: 'resume with --resume a1b2c3' }
      },
    })

  test('lets a graceful command save, and ends with 130', async () => {
    const command = working(true, async ({ signal }) => {
      press()
      expect(signal.aborted).toBe(true)
    })
    const text = await type(command, ['work'])
    expect(text).toMatchObject({ status: 130, stdout: 'resume with --resume a1b2c3\n', ended: [] })
    const json = await type(command, ['work', '--format', 'json'])
    expect(lastLine(json.stdout)).toMatchObject({ status: 'error', exit_code: 130, data: { saved: true }, error: { code: 'INTERRUPTED' } })
  })

  test('has the last word: what the stopped command still says is dropped', async () => {
    const command = working(false, async (context) => {
      press()
      context.event({ event: 'round' }, 'one more round')
    })
    const { stdout, stderr } = await type(command, ['work', '--format', 'json'])
    expect(stdout.trimEnd().split('\n')).toHaveLength(1)
    expect(lastLine(stdout)).toMatchObject({ exit_code: 130 })
    expect(stderr).toBe('')
  })

  test.each([
    [true, 2],
    [false, 1],
  ])('ends a command at once where graceful is %s and it is pressed %i times', async (graceful, times) => {
    const command = working(graceful, async () => {
      for (let time = 0; time < times; time++) press()
    })
    expect((await type(command, ['work'])).ended).toEqual([130])
  })

  test('is Node’s again when the command is through', async () => {
    const before = process.listenerCount('SIGINT')
    await type(greet, ['greet', 'ada'])
    expect(process.listenerCount('SIGINT')).toBe(before)
  })
})

describe('on a terminal', () => {
  const paintAndCount = defineCommand({
    usage: 'count',
    summary: 'count',
    example: 'cutlayer count',
    options: z.object({}),
    async run(context) {
      const progress = context.progress('steps', 2)
      progress.update(1)
      context.log.warn({ id: 'client-0', token: 'secret' }, 'client lost')
      progress.update(2, 'loss 3.21')
      progress.finish()
      return { data: null, text: context.paint('green', 'done') }
    },
  })

  test('a bar is drawn, with lines above it, and cleared', async () => {
    const { stdout, stderr } = await type(paintAndCount, ['count'], {}, true)
    expect(stdout).toBe('\u001b[32mdone\u001b[39m\n')
    expect(stderr).toMatch(/steps {2}\[#{12}-{12}\] {2}1\/2/)
    expect(stderr).toContain('\r\u001b[2Kwarn: client lost id=client-0 token=[Redacted]\n')
    expect(stderr.split('2/2 ').at(-1)).toMatch(/loss 3\.21/)
    expect(stderr.endsWith('loss 3.21\r\u001b[2K')).toBe(true)
  })

  test('colours are left out if NO_COLOR is set', async () => {
    expect((await type(paintAndCount, ['count'], { NO_COLOR: '1' }, true)).stdout).toBe('done\n')
  })

  test('nothing is drawn where there is none', async () => {
    const { stdout, stderr } = await type(paintAndCount, ['count'])
    expect([stdout, stderr]).toEqual(['done\n', 'warn: client lost id=client-0 token=[Redacted]\n'])
  })

  describe('a panel', () => {
    const watch = defineCommand({
      usage: 'watch',
      summary: 'watch',
      example: 'cutlayer watch',
      options: z.object({}),
      async run(context) {
        const panel = context.panel()
        panel?.show((columns) => [`${columns} columns`, 'x'.repeat(100)])
        context.warn('look')
        panel?.show(() => Array.from({ length: 30 }, (_, row) => `row ${row}`))
        panel?.finish()
        return { data: panel !== null, text: 'seen' }
      },
    })

    test('is drawn in place, cut to the terminal, below the lines that come meanwhile, and cleared', async () => {
      const { stdout, stderr } = await type(watch, ['watch'], {}, true)
      const first = `79 columns\n${'x'.repeat(79)}`
      const second = Array.from({ length: 23 }, (_, row) => `row ${row}`).join('\n')
      const clearing = (rows: number): string => `\r\u001b[2K${'\u001b[1A\u001b[2K'.repeat(rows - 1)}`
      expect(stderr).toBe(`${clearing(1)}${first}${clearing(2)}warning: look\n${first}${clearing(2)}${second}${clearing(23)}`)
      expect(stdout).toBe('seen\n')
    })

    test.each([
      [['watch'], false],
      [['watch', '--format', 'json'], true],
    ])('is none for %j where the terminal is %s', async (args, isTTY) => {
      const { stderr } = await type(watch, args, {}, isTTY)
      expect(stderr).not.toContain('columns')
    })
  })

  test('lines on stderr are JSON if the environment wants them so, and nothing is drawn', async () => {
    const environment = { CUTLAYER_LOG_FORMAT: 'json' }
    const jsonLines = (text: string): unknown[] =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown)
    const counted = await type(paintAndCount, ['count'], environment, true)
    expect(counted.stdout).toContain('done')
    expect(jsonLines(counted.stderr)).toEqual([
      { level: 'warn', time: expect.stringMatching(/Z$/) as string, id: 'client-0', token: '[Redacted]', msg: 'client lost' },
    ])
    const greeted = await type(greet, ['greet', 'ada'], environment)
    expect(jsonLines(greeted.stderr)).toMatchObject([
      { level: 'info', event: 'greeting', names: ['ada'], msg: 'greeting 1' },
      { level: 'warn', event: 'warning', msg: 'warning: be polite' },
    ])
    const quiet = await type(greet, ['greet', 'ada'], { ...environment, CUTLAYER_LOG: 'error' })
    expect(quiet).toMatchObject({ stdout: 'hello ada\n', stderr: '' })
    const failed = await type(greet, ['greet', 'ada', '--times', '10'], { ...environment, CUTLAYER_LOG: 'silent' })
    expect(jsonLines(failed.stderr)).toMatchObject([
      { level: 'error', code: 'BAD_ARGUMENT', exit_code: 501, msg: expect.any(String) as string },
    ])
    const bug = await type(failing(new Error('oh')), ['bench', 'fail'], environment)
    expect(jsonLines(bug.stderr)).toMatchObject([
      { code: 'BUG', stack: expect.stringContaining('oh') as string },
      { code: 'BUG', exit_code: 100 },
    ])
  })

  test('a wrong log level is named', async () => {
    const { status, stderr } = await type(paintAndCount, ['count'], { CUTLAYER_LOG: 'loud' })
    expect(status).toBe(5)
    expect(stderr).toContain('CUTLAYER_LOG says "loud"')
  })
})
