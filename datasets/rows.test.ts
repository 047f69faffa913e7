import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseRows, readRows, rowSource } from './rows.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const failure = (why: string, line: number): unknown =>
  expect.objectContaining({
    code: 'DATA_ROW_INVALID',
    what: expect.stringContaining(`rows.jsonl, line ${line}:`) as string,
    why: expect.stringContaining(why) as string,
  })

describe('reading rows', () => {
  test('texts and prompts are read, with the client they name; other keys mean nothing', () => {
    const text = '{"text": "é\\n", "id": 7}\n{"prompt": "Q:", "completion": " A", "client": "ann"}'
    expect(parseRows(bytes(text), 'rows.jsonl')).toEqual([
      { line: 1, client: null, label: null, content: { kind: 'text', text: 'é\n' } },
      { line: 2, client: 'ann', label: null, content: { kind: 'prompt', prompt: 'Q:', completion: ' A' } },
    ])
  })

  test('an instruction becomes a prompt by the template of Stanford Alpaca, with its input or without', () => {
    const text = '{"instruction": "Add.", "input": "1 2", "output": "3"}\n{"instruction": "Go.", "input": "", "output": "Gone."}'
    // PROMPT_DICT of train.py in github.com/tatsu-lab/stanford_alpaca, filled in.
    const withInput =
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:'
    const without =
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nGo.\n\n### Response:'
    expect(parseRows(bytes(text), 'rows.jsonl').map(({ content }) => content)).toEqual([
      { kind: 'prompt', prompt: withInput, completion: '3' },
      { kind: 'prompt', prompt: without, completion: 'Gone.' },
    ])
    expect(parseRows(bytes('{"instruction": "Go.", "output": "Gone."}'), 'rows.jsonl')[0].content).toMatchObject({ prompt: without })
  })

  test('messages keep the keys that a template may use, but those without a value', () => {
    const text = '{"messages": [{"role": "user", "content": "", "name": "ann", "tool_calls": null}, {"role": "assistant", "content": "x"}]}'
    expect(parseRows(bytes(text), 'rows.jsonl')[0].content).toEqual({
      kind: 'messages',
      messages: [
        { role: 'user', content: '', name: 'ann' },
        { role: 'assistant', content: 'x' },
      ],
      place: 'rows.jsonl, line 1',
    })
  })

  test('a label is a name or a number', () => {
    const text = '{"text": "a", "label": "x"}\n{"text": "b", "label": 3}\n{"text": "c", "label": false}'
    expect(parseRows(bytes(text), 'rows.jsonl').map(({ label }) => label)).toEqual(['x', '3', 'false'])
  })

  test('a byte order mark, CRLF line ends and empty lines at the end do no harm', () => {
    const text = '\ufeff{"text": "a"}\r\n{"text": "b"}\r\n\r\n\n'
    expect(parseRows(bytes(text), 'rows.jsonl').map(({ content }) => content)).toEqual([
      { kind: 'text', text: 'a' },
      { kind: 'text', text: 'b' },
    ])
  })

  test.each([
    ['an empty line between rows', '\n{"text": "b"}', 'the line is empty', 2],
    ['a line that is not JSON', '{"text": "b"', 'not JSON', 2],
    ['a line that is no object', '["b"]', 'not an object', 2],
    ['null', 'null', 'not an object', 2],
    ['a row of no form', '{"body": "b"}', 'neither "text" nor "prompt"', 2],
    ['a completion alone', '{"completion": "b"}', 'neither "text" nor "prompt"', 2],
    ['two forms at once', '{"text": "b", "prompt": "p", "completion": "c"}', 'both', 2],
    ['a text of the wrong type', '{"text": 5}', '"text" is not a string', 2],
    ['a text that is null', '{"text": null}', '"text" is not a string', 2],
    ['an empty text', '{"text": ""}', '"text" is empty', 2],
    ['a prompt without completion', '{"prompt": "p"}', 'no "completion"', 2],
    ['an empty completion', '{"prompt": "p", "completion": ""}', '"completion" is empty', 2],
    ['a label of the wrong type', '{"text": "b", "label": []}', '"label" is neither', 2],
    ['a client of the wrong type', '{"text": "b", "client": 3}', '"client" is not a string', 2],
    ['a row of two forms', '{"messages": [], "instruction": "i"}', 'both "messages" and "instruction"', 2],
    ['messages that are no list', '{"messages": "hello"}', '"messages" is not a list', 2],
    ['a message that is no object', '{"messages": ["hello"]}', 'message 1 is not an object', 2],
    ['a message of no role', '{"messages": [{"content": "x"}]}', '"role" of message 1', 2],
    ['a message of no text', '{"messages": [{"role": "user", "content": ["x"]}]}', '"content" of message 1 is not a string', 2],
    ['an empty answer', '{"messages": [{"role": "assistant", "content": ""}]}', '"content" of message 1 is empty', 2],
    ['messages without an answer', '{"messages": [{"role": "user", "content": "x"}]}', "no message is the assistant's", 2],
    ['an instruction without output', '{"instruction": "i", "input": ""}', 'no "output"', 2],
    ['an input of the wrong type', '{"instruction": "i", "input": null, "output": "o"}', '"input" is not a string', 2],
  ])('%s is an error with file and line', (_, row, why, line) => {
    expect(() => parseRows(bytes(`{"text": "a"}\n${row}\n`), 'rows.jsonl')).toThrow(failure(why, line))
  })

  test('bytes that are not UTF-8 are an error with their line', () => {
    const broken = Uint8Array.of(...bytes('{"text": "a"}\n{"text": "'), 0xff, ...bytes('"}\n'))
    expect(() => parseRows(broken, 'rows.jsonl')).toThrow(failure('not UTF-8', 2))
  })

  test.each(['', '\n\r\n', '\ufeff'])('a file of nothing (%j) is an error', (text) => {
    expect(() => parseRows(bytes(text), 'rows.jsonl')).toThrow(expect.objectContaining({ code: 'DATA_EMPTY' }) as Error)
  })
})

describe('files', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cutlayer-rows-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('a file is read, and its rows become units that know their line', async () => {
    const path = join(folder, 'rows.jsonl')
    await writeFile(path, '{"text": "abc"}\n{"prompt": "Q", "completion": "AB", "client": "ann"}\n')
    const { units } = rowSource(await readRows(path), path)
    expect(units.map(({ owner, place, characters }) => ({ owner, place, characters }))).toEqual([
      { owner: null, place: `${path}, line 1`, characters: 3 },
      { owner: 'ann', place: `${path}, line 2`, characters: 3 },
    ])
  })

  test('a missing file and a folder are errors that name the path', async () => {
    const missing = join(folder, 'nowhere.jsonl')
    await expect(readRows(missing)).rejects.toMatchObject({ code: 'DATA_NOT_FOUND', what: expect.stringContaining(missing) as string })
    await expect(readRows(folder)).rejects.toMatchObject({ code: 'DATA_NOT_FOUND' })
  })
})
