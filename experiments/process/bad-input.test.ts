/**
 * @file Bad input, case by case: a code, an exit status, a fix that helps, and nothing left behind.
 */
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commands as clientCommands } from '../../client/command.js'
import { helloOf } from '../../client/join.js'
import { connect } from '../../client/socket.js'
import { commands as serverCommands } from '../../server/command.js'
import { runCommandLine } from '../../shared/command-line/frame.node.js'
import type { ErrorCode } from '../../shared/errors.js'
import { PROTOCOL_VERSION } from '../../shared/protocol/messages.js'
import { commands as experimentCommands } from '../command.js'
import { writeGoldenModel } from '../testing/golden-model.js'
import { startProgram, type Ending, type Envelope, type Program } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

const home = process.cwd()
let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  await workshop.config('good.yaml')
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.env.CUTLAYER_STATE = workshop.at('state')
  process.chdir(workshop.folder)
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

/** As the program does it, in this process: nothing of these cases gets as far as starting another. */
async function type(...args: string[]): Promise<{ status: number; envelope: Envelope }> {
  let stdout = ''
  const streams = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: () => true }, environment: {} }
  const frame = { version: '0', summary: '', commands: [...clientCommands, ...experimentCommands, ...serverCommands] }
  const status = await runCommandLine(frame, [...args, '--format', 'json'], streams, () => undefined)
  return { status, envelope: JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Envelope }
}

interface Expected {
  readonly code: ErrorCode
  /** What the process exits with. */
  readonly status: number
  /** Words of `what` or `why`, and of `fix`. */
  readonly says: string
  readonly fix: string
}

function expectRefusal({ status, envelope }: Pick<Ending, 'status' | 'envelope'>, expected: Expected): void {
  expect(envelope).toMatchObject({ status: 'error', error: { code: expected.code } })
  const { what, why, fix } = envelope.error!
  expect(`${what}: ${why}`).toContain(expected.says)
  expect(fix).toContain(expected.fix)
  expect(status).toBe(expected.status)
  expect(Math.floor(envelope.exit_code / 100)).toBe(status)
}

async function expectNothingWritten(): Promise<void> {
  expect(await readdir(workshop.folder)).not.toContain('runs')
}

/** Code, words of `what` or `why`, words of `fix`. */
type Words = readonly [ErrorCode, string, string]
const expectationOf = ([code, says, fix]: Words, status: number): Expected => ({ code, says, fix, status })

describe('a command line that says the wrong thing:', () => {
  test.each<[string, Words]>([
    ['rnu good.yaml', ['BAD_ARGUMENT', "unknown command 'rnu'", 'did you mean run?']],
    ['run', ['BAD_ARGUMENT', "missing required argument 'config'", 'cutlayer run --help']],
    ['run good.yaml --tarce x', ['BAD_ARGUMENT', "unknown option '--tarce'", 'did you mean --trace?']],
    ['run good.yaml --resume x', ['RUN_NOT_FOUND', 'there is no run called x', 'start one with "cutlayer run"']],
    ['run good.yaml --trace nowhere/x', ['OUTPUT_UNWRITABLE', 'no such file or directory', 'another file with --trace']],
    ['run good.yaml --trace good.yaml', ['OUTPUT_UNWRITABLE', 'is no trace of cutlayer', 'another file with --trace']],
    ['run good.yaml train.seed=[1,2] --trace x', ['BAD_ARGUMENT', 'train.seed is a list', 'give one seed']],
    ['run good.yaml learning_rate=1', ['BAD_ARGUMENT', 'not of the form group.key', 'train.learning_rate=1e-3']],
    ['run good.yaml train.seed', ['BAD_ARGUMENT', 'it has no "="', 'group.key=value']],
    ['server good.yaml --port 70000', ['BAD_ARGUMENT', 'a whole number from 0 to 65535', 'correct --port']],
    ['client --id ada', ['BAD_ARGUMENT', '--server is missing', 'add --server']],
    ['inspect --round x', ['BAD_ARGUMENT', '--round has a wrong value', 'correct --round']],
    ['inspect', ['RUN_NOT_FOUND', 'holds no run', 'cutlayer run']],
    ['bench stpe', ['BAD_ARGUMENT', "unknown command 'stpe'", 'did you mean step?']],
  ])('%s', async (line, words) => {
    expectRefusal(await type(...line.split(' ')), expectationOf(words, 5))
    await expectNothingWritten()
  })

  test('server for other machines, in the clear', async () => {
    const words: Words = ['INSECURE_BIND', 'does not listen on 0.0.0.0', '--insecure']
    expectRefusal(await type('server', 'good.yaml', '--host', '0.0.0.0'), expectationOf(words, 6))
    await expectNothingWritten()
  })
})

describe('a config that', () => {
  test('is not there', async () => {
    expectRefusal(
      await type('run', 'nowhere.yaml'),
      expectationOf(['CONFIG_NOT_FOUND', 'nowhere.yaml', 'the path of a YAML or JSON file'], 5),
    )
  })

  test('is not YAML is told with its line', async () => {
    await writeFile('syntax.yaml', 'train:\n  learning_rate: [1\nsplit:\n  cut_layer: 2\n')
    expectRefusal(await type('run', 'syntax.yaml'), expectationOf(['CONFIG_SYNTAX', 'line ', 'correct line'], 5))
    await expectNothingWritten()
  })

  test.each<[string, Words]>([
    ['train.lerning_rate=1', ['CONFIG_UNKNOWN_KEY', 'lerning_rate', 'train.learning_rate']],
    ['trian.learning_rate=1', ['CONFIG_UNKNOWN_KEY', 'trian', 'did you mean train']],
    ['train.learning_rate=fast', ['CONFIG_VALUE', '"fast", and a number is expected', 'correct train.learning_rate']],
    ['federation.num_clients=0', ['CONFIG_VALUE', 'it says 0', 'correct federation.num_clients']],
    ['federation.local_epochs=1', ['CONFIG_VALUE', 'local_steps is given', 'federation.local_epochs']],
    ['data.dataset=sotu', ['CONFIG_VALUE', 'dataset is given', 'data.path']],
    ['federation.min_replies=3', ['CONFIG_VALUE', 'federation.num_clients is 2', 'federation.min_replies']],
    ['model.precision=int8', ['CONFIG_NOT_BUILT', 'model.precision: "int8" is planned', 'use fp32 or q8']],
    ['model.engine=torch', ['CONFIG_VALUE', 'onnx or tfjs or reference', 'correct model.engine']],
    ['split.topology=alone', ['CONFIG_VALUE', 'split or federated or centralized or local', 'correct split.topology']],
    ['split.tail_layers=1', ['CONFIG_NOT_BUILT', 'split.tail_layers', 'use 0']],
    ['data.alpha=0', ['CONFIG_VALUE', 'it says 0', 'correct data.alpha']],
    ['federation.strategy=fedprox', ['CONFIG_NOT_BUILT', 'federation.strategy', 'use fedavg']],
    ['lora.init_from=3', ['CONFIG_VALUE', 'it says 3, and text is expected', 'correct lora.init_from']],
    [
      'transport.activation_codec={default: auto, client-1: int9}',
      ['CONFIG_VALUE', 'of client-1: there is no codec called "int9"', 'correct transport.activation_codec'],
    ],
    [
      'transport.activation_codec={client-7: int8}',
      ['CONFIG_VALUE', 'this run has no such client: its clients are client-0 to client-1', 'federation.num_clients'],
    ],
    ['transport.gradient_codec={../x: int8}', ['CONFIG_VALUE', "../x is no client's id", 'correct transport.gradient_codec']],
    ['transport.gradient_codec=[int8]', ['CONFIG_VALUE', 'a mapping from client ids', 'correct transport.gradient_codec']],
    ['transport.gradient_codec=int9', ['CONFIG_VALUE', 'there is no codec called "int9"', 'correct transport.gradient_codec']],
    ['transport.gradient_codec=reuse+int8', ['CONFIG_VALUE', 'reuse is for activations', 'correct transport.gradient_codec']],
    ['transport.gradient_codec=zstd+int8', ['CONFIG_VALUE', 'int8 cannot stand there', 'correct transport.gradient_codec']],
    ['output.report_to=tensorboard', ['CONFIG_NOT_BUILT', 'output.report_to', 'use jsonl']],
    ['data.max_length=65', ['CONFIG_VALUE', 'model has 64 positions', 'at most 64']],
  ])('asks for %s', async (override, words) => {
    expectRefusal(await type('run', 'good.yaml', override), expectationOf(words, 5))
    await expectNothingWritten()
  })

  test.each<[string, Words]>([
    ['split.cut_layer=5', ['CUT_OUT_OF_RANGE', 'this model has 4 blocks', 'from 0']],
    ['lora.init_from=./nowhere', ['ADAPTER_NOT_FOUND', 'nowhere', 'folder']],
    ['lora.target_modules=[q_proj]', ['TARGET_MATCHES_NOTHING', 'q_proj', 'c_attn, c_proj, c_fc']],
  ])('asks for %s of a model that has no such thing', async (override, words) => {
    for (const command of ['run', 'server'])
      expectRefusal(await type(command, 'good.yaml', override, ...(command === 'server' ? ['--port', '0'] : [])), expectationOf(words, 4))
    await expectNothingWritten()
  })

  test('wants its runs where a file is', async () => {
    await writeFile('taken', '')
    const refused = await type('run', 'good.yaml', 'output.output_dir=taken')
    expectRefusal(refused, expectationOf(['RUN_DIR_UNWRITABLE', 'taken', 'output.output_dir'], 1))
    expect(await readFile('taken', 'utf8')).toBe('')
  })

  test('names a token file that is not there', async () => {
    const refused = await type('server', 'good.yaml', 'transport.token_file=nowhere')
    expectRefusal(refused, expectationOf(['BAD_ARGUMENT', 'there is no such file', 'openssl rand -hex 24 > nowhere'], 5))
    await expectNothingWritten()
  })
})

describe('a model', () => {
  /** A copy of the good model with one file changed; null: without it. */
  async function broken(file: string, edit: (content: Buffer) => string | Uint8Array | null): Promise<void> {
    await rm('broken', { recursive: true, force: true })
    await cp('model', 'broken', { recursive: true })
    const content = edit(await readFile(join('broken', file)))
    if (content === null) await rm(join('broken', file))
    else await writeFile(join('broken', file), content)
  }
  const withConfig = (changes: object) => (content: Buffer) => JSON.stringify({ ...(JSON.parse(content.toString()) as object), ...changes })
  const refused = () => type('run', 'good.yaml', 'model.model_name_or_path=broken')

  test('that is not there', async () => {
    await rm('broken', { recursive: true, force: true })
    expectRefusal(await refused(), expectationOf(['MODEL_NOT_FOUND', 'broken', 'give a folder'], 4))
    await expectNothingWritten()
  })

  test.each<[string, string, (content: Buffer) => string | Uint8Array | null, Words]>([
    ['without weights', 'model.safetensors', () => null, ['MODEL_NOT_FOUND', 'neither model.safetensors', 'complete model']],
    ['with a header that is none', 'model.safetensors', () => 'garbage, and more', ['MODEL_CORRUPT', 'its header claims', 'again']],
    [
      'with a header that is not JSON',
      'model.safetensors',
      (content) => content.fill(0x21, 8, 40),
      ['MODEL_CORRUPT', 'model.safetensors', 'again'],
    ],
    ['that ends too early', 'model.safetensors', (content) => content.subarray(0, -4), ['MODEL_CORRUPT', 'model.safetensors', 'again']],
    ['without a tensor', 'config.json', withConfig({ n_layer: 5 }), ['TENSOR_MISSING', 'transformer.h.4.', 'config.json']],
    ['with a tensor of another shape', 'config.json', withConfig({ vocab_size: 97 }), ['TENSOR_SHAPE', '[96, 32]', 'config.json']],
    [
      'with more blocks than its config',
      'config.json',
      withConfig({ n_layer: 3 }),
      ['MODEL_UNSUPPORTED', 'transformer.h.3.', 'config.json'],
    ],
    ['of an unknown family', 'config.json', withConfig({ model_type: 'mamba' }), ['MODEL_UNSUPPORTED', 'mamba', 'supported type']],
    ['whose config is not JSON', 'config.json', () => '{"n_layer": ', ['MODEL_CORRUPT', 'config.json', 'again']],
    ['without a tokenizer', 'tokenizer.json', () => null, ['TOKENIZER_MISSING', 'no tokenizer.json', 'save_pretrained']],
  ])('%s', async (_, file, edit, words) => {
    await broken(file, edit)
    expectRefusal(await refused(), expectationOf(words, 4))
    await expectNothingWritten()
  })

  test('that has nowhere to be prepared', async () => {
    await writeFile('full', '')
    process.env.CUTLAYER_CACHE = workshop.at('full', 'cache')
    try {
      expectRefusal(
        await type('run', 'good.yaml'),
        expectationOf(['CACHE_UNWRITABLE', 'a part of its path is a file', 'CUTLAYER_CACHE'], 4),
      )
    } finally {
      process.env.CUTLAYER_CACHE = workshop.at('cache')
    }
    await expectNothingWritten()
  })
})

describe('rows', () => {
  test.each<[string, string, Words, number]>([
    ['that are not JSON', '{"text": "fine"}\n{"text": "fine"\n', ['DATA_ROW_INVALID', 'bad.jsonl, line 2', 'write {"text"'], 4],
    [
      'of conversations, for a model that has no chat template',
      '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
      ['TOKENIZER_MISSING', 'no chat template', 'prompt and completion'],
      4,
    ],
    ['of which there are none', '\n', ['DATA_EMPTY', 'bad.jsonl', 'one JSON object on each line'], 4],
    ['fewer than clients', '{"text": "one"}\n', ['NO_TRAINING_ROWS', '1 rows', 'federation.num_clients to at most 1'], 3],
    [
      'of fewer owners than clients',
      '{"text": "one", "client": "a"}\n{"text": "two", "client": "a"}\n',
      ['CONFIG_VALUE', 'only 1 owners', 'federation.num_clients to at most 1'],
      5,
    ],
  ])('%s', async (_, content, words, status) => {
    await writeFile('bad.jsonl', content)
    expectRefusal(await type('run', 'good.yaml', 'data.path=bad.jsonl'), expectationOf(words, status))
    await expectNothingWritten()
  })

  test.each(['data.path', 'data.eval_path'])('that %s names and that are not there', async (key) => {
    const words: Words = ['DATA_NOT_FOUND', 'nowhere.jsonl', 'JSONL file']
    expectRefusal(await type('run', 'good.yaml', `${key}=nowhere.jsonl`), expectationOf(words, 4))
    await expectNothingWritten()
  })
})

describe("code of the user's own", () => {
  const STRATEGY = 'federation.strategy=./own.mjs'
  const DATA = 'data.dataset=./own.mjs'
  test.each<[string, string, string | null, Words, number]>([
    ['a strategy that is not there', STRATEGY, null, ['BAD_STRATEGY', 'there is no such file', 'JavaScript file'], 2],
    ['a strategy without a default export', STRATEGY, 'export const a = 1', ['BAD_STRATEGY', 'no default export', 'export default {'], 2],
    ['a strategy that throws as it is imported', STRATEGY, 'null.x', ['BAD_STRATEGY', 'threw TypeError', 'correct ./own.mjs'], 2],
    ['a strategy that is something else', STRATEGY, 'export default []', ['BAD_STRATEGY', 'called create', 'export default {'], 2],
    ['a data set that is not there', DATA, null, ['DATA_NOT_FOUND', 'there is no such file', 'JavaScript file'], 4],
    ['a data set without a default export', DATA, 'export const a = 1', ['DATA_SET_FAILED', 'no default export', 'export default'], 4],
    ['a data set that throws', DATA, 'export default () => null.x', ['DATA_SET_FAILED', 'threw TypeError', 'correct ./own.mjs'], 4],
    [
      'a data set of ill-formed rows',
      DATA,
      "export default [{ text: 'a' }, { text: 1 }]",
      ['DATA_ROW_INVALID', 'row 2', 'write {"text"'],
      4,
    ],
    ['a data set without rows', DATA, 'export default []', ['DATA_EMPTY', 'gives none', 'yield'], 4],
  ])('%s', async (_, override, code, words, status) => {
    await rm('own.mjs', { force: true })
    if (code !== null) await writeFile('own.mjs', code)
    const overrides = override === DATA ? [override, 'data.path=null'] : [override]
    expectRefusal(await type('run', 'good.yaml', ...overrides), expectationOf(words, status))
    await expectNothingWritten()
  })

  test.each<[string, Words]>([
    ['data.path=./rows.js', ['CONFIG_VALUE', 'a JSONL or CSV file (data.dataset takes code)', 'data.path']],
    ['data.eval_path=./rows.mjs', ['CONFIG_VALUE', 'a JSONL or CSV file (data.dataset takes code)', 'data.eval_path']],
    ['federation.strategy=./mine', ['CONFIG_VALUE', 'fedavg, or a file such as ./my-strategy.js', 'federation.strategy']],
    ['federation.strategy_options.mu=1', ['CONFIG_VALUE', 'the strategy fedavg has no options', 'federation.strategy_options']],
  ])('where it cannot be: %s', async (override, words) => {
    expectRefusal(await type('run', 'good.yaml', override), expectationOf(words, 5))
    await expectNothingWritten()
  })

  test('options that a strategy does not take', async () => {
    await writeFile('own.mjs', "export default { options: { parse() { throw new Error('mu: missing') } }, create() {} }")
    const refused = await type('run', 'good.yaml', STRATEGY, 'federation.strategy_options.nu=1')
    expectRefusal(refused, expectationOf(['CONFIG_VALUE', 'mu: missing', 'correct federation.strategy_options'], 5))
    await expectNothingWritten()
  })
})

describe('a server that runs', () => {
  const TOKEN = 'open-sesame'
  let server: Program
  let url: string
  let unreachable: Program
  beforeAll(async () => {
    await writeFile('token', TOKEN)
    await writeFile('other-token', 'open-barley')
    await workshop.config('guarded.yaml', { transport: { token_file: 'token' }, output: { output_dir: 'guarded' } })
    const options = { cwd: workshop.folder, env: workshop.environment }
    // Nothing listens on port 1; the client tries for a while before it says so.
    unreachable = startProgram(['client', '--server', 'http://127.0.0.1:1', '--id', 'ada'], options)
    server = startProgram(['server', 'guarded.yaml', '--port', '0'], options)
    url = String((await server.line({ event: 'listening' })).url)
  })
  afterAll(async () => {
    server.child.kill('SIGINT')
    await server.ended
  })

  const join = (id: string, ...flags: string[]) =>
    type('client', '--server', url, '--id', id, '--engine', 'reference', '--model', 'model', ...flags)

  test('is not disturbed by one that wants its port', async () => {
    const refused = await type('server', 'good.yaml', '--port', new URL(url).port)
    expectRefusal(refused, expectationOf(['PORT_IN_USE', new URL(url).port, '--port'], 6))
    await expectNothingWritten()
  })

  test('refuses a client without a token, and with a wrong one', async () => {
    expectRefusal(await join('ada'), expectationOf(['TOKEN_REFUSED', 'it showed no token', '--token-file'], 6))
    const refused = await join('ada', '--token-file', 'other-token')
    expectRefusal(refused, expectationOf(['TOKEN_REFUSED', 'not that of this server', '--token-file'], 6))
  })

  test('refuses a client of another protocol version', async () => {
    const facts = { client: 'ada', token: TOKEN, part: null, ownData: false, engine: 'reference', software: 'test' }
    const hello = { ...helloOf(facts), protocol: PROTOCOL_VERSION + 1 }
    await expect(connect({ url, hello: () => hello })).rejects.toMatchObject({
      code: 'PROTOCOL_VERSION_DIFFERS',
      why: expect.stringContaining(`version ${PROTOCOL_VERSION + 1}`) as string,
      fix: expect.stringContaining('same version of cutlayer') as string,
    })
  })

  test('is left by a client that holds another model, or no rows', async () => {
    await writeGoldenModel(workshop.at('zeros'), 'gpt2', { eos: true, zeros: true })
    const stranger = await join('ada', '--token-file', 'token', '--model', 'zeros')
    expectRefusal(stranger, expectationOf(['MODEL_DIGEST_DIFFERS', 'transformer.wte.weight of zeros', 'model'], 4))
    const without = await join('ada', '--token-file', 'token', '--data', 'nowhere.jsonl')
    expectRefusal(without, expectationOf(['DATA_NOT_FOUND', 'nowhere.jsonl', 'JSONL file'], 4))
  })

  test('refuses more clients than its config has', async () => {
    const links = await Promise.all(
      ['ada', 'bob'].map(async (client) => {
        const facts = { client, token: TOKEN, part: null, ownData: false, engine: 'reference', software: 'test' }
        const link = await connect({ url, hello: () => helloOf(facts) })
        await new Promise<void>((resolve) => link.onMessage(({ type: kind }) => kind === 'welcome' && resolve()))
        return link
      }),
    )
    const refused = await join('eve', '--token-file', 'token')
    expectRefusal(refused, expectationOf(['RUN_FULL', '2 client(s): ada, bob', 'federation.num_clients'], 6))
    await Promise.all(links.map((link) => link.close('over')))
  })

  test('writes down whom it refused, and no token', async () => {
    server.child.kill('SIGINT')
    const { status, envelope } = await server.ended
    expect(status).toBe(130)
    const { run_dir } = envelope.data as { run_dir: string }
    const events = await readFile(`${run_dir}/events.jsonl`, 'utf8')
    for (const code of ['TOKEN_REFUSED', 'RUN_FULL', 'MODEL_DIGEST_DIFFERS', 'DATA_NOT_FOUND']) expect(events).toContain(code)
    for (const secret of [TOKEN, 'open-barley']) expect(events).not.toContain(secret)
  })

  test('is not at every address: a client that finds none says where it looked', async () => {
    const words: Words = ['SERVER_UNREACHABLE', 'http://127.0.0.1:1', 'cutlayer server']
    expectRefusal(await unreachable.ended, expectationOf(words, 6))
  })
})
