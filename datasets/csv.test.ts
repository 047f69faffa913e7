import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCsvRows } from './csv.js'
import { readRows } from './rows.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const contents = (text: string): unknown[] => parseCsvRows(bytes(text), 'rows.csv').map(({ content }) => content)

test('columns are read as the keys of rows, with clients and labels where a cell has one', () => {
  const text = 'id,text,client,label\r\n1,"a, ""b""\r\nc",ann,x\r\n2,d,,\r\n\r\n'
  expect(parseCsvRows(bytes(`\ufeff${text}`), 'rows.csv')).toEqual([
    { line: 2, client: 'ann', label: 'x', content: { kind: 'text', text: 'a, "b"\r\nc' } },
    { line: 4, client: null, label: null, content: { kind: 'text', text: 'd' } },
  ])
})

test('prompts with completions, and instructions with and without input, are read too', () => {
  expect(contents('prompt,completion\nQ:, A')).toEqual([{ kind: 'prompt', prompt: 'Q:', completion: ' A' }])
  expect(contents('instruction,input,output\nAdd.,1 2,3\nGo.,,Gone.\n')).toMatchObject([
    { prompt: expect.stringContaining('### Input:\n1 2\n') as string, completion: '3' },
    { prompt: expect.not.stringContaining('### Input:') as string, completion: 'Gone.' },
  ])
})

test('any text comes back that was written with quotes', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme', minLength: 1 }), { minLength: 1 }), (texts) => {
      const csv = ['text', ...texts.map((text) => `"${text.replaceAll('"', '""')}"`)].join('\n')
      expect(contents(csv)).toEqual(texts.map((text) => ({ kind: 'text', text })))
    }),
  )
})

test.each([
  ['a row of too few cells', 'text,client\na,b\nc\n', 'it has 1 cells', 3],
  ['a row of too many cells', 'text\n"a\nb"\nc,d\n', 'it has 2 cells', 4],
  ['a quote that does not end', 'text\r\n"a\r\nb"\r\n"c\r\n', 'not CSV', 4],
  ['a quote inside of a cell', 'text\na\nb"c"\n', 'not CSV', 3],
  ['an empty line between rows', 'text\na\n\nb\n', 'the line is empty', 3],
  ['an empty cell', 'prompt,completion\na,\n', '"completion" is empty', 2],
  ['columns of no form', 'mr,ref\na,b\n', 'neither "text"', 2],
  ['two columns of one name', 'text,text\na,b\n', 'two columns are called "text"', 1],
  ['messages, which no cell can hold', 'messages\nhello\n', '"messages" is not a list', 2],
])('%s is an error with file and line', (_, text, why, line) => {
  expect(() => contents(text)).toThrow(
    expect.objectContaining({
      code: 'DATA_ROW_INVALID',
      what: expect.stringContaining(`rows.csv, line ${line}:`) as string,
      why: expect.stringContaining(why) as string,
    }) as Error,
  )
})

test('bytes that are not UTF-8 are an error with their line', () => {
  const broken = Uint8Array.of(...bytes('text\na\n'), 0xff, ...bytes('\nb\n'))
  expect(() => parseCsvRows(broken, 'rows.csv')).toThrow(
    expect.objectContaining({ what: expect.stringContaining('line 3') as string, why: 'the line is not UTF-8' }) as Error,
  )
})

test.each(['', 'text\n', '\n\n'])('a file without rows (%j) is an error', (text) => {
  expect(() => contents(text)).toThrow(expect.objectContaining({ code: 'DATA_EMPTY' }) as Error)
})

test('a file is taken for CSV by the end of its name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-csv-'))
  try {
    const path = join(folder, 'ROWS.CSV')
    await writeFile(path, 'text\nabc\n')
    expect((await readRows(path)).map(({ content }) => content)).toEqual([{ kind: 'text', text: 'abc' }])
  } finally {
    await rm(folder, { recursive: true })
  }
})
