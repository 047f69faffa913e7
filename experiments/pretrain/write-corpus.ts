/**
 * @file Writes the training documents as JSON lines, for tokenizer.py: `node dist/experiments/pretrain/write-corpus.js corpus.jsonl`.
 */
import { writeFile } from 'node:fs/promises'
import { dividedCorpus } from './corpus.js'
import { badUsage, runProgram } from './program.js'

await runProgram(async (args) => {
  const [path] = args
  if (path === undefined || args.length > 1) throw badUsage(`${args.length} file names were given`, 'write-corpus.js OUTPUT.jsonl')
  const { train } = await dividedCorpus()
  await writeFile(path, train.map((document) => `${JSON.stringify(document)}\n`).join(''))
})
