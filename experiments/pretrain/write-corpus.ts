/**
 * @file Writes the training documents as JSON lines, for tokenizer.py: `node dist/experiments/pretrain/write-corpus.js corpus.jsonl`.
 */
import { writeFile } from 'node:fs/promises'
import { dividedCorpus } from './corpus.js'

const [path, ...rest] = process.argv.slice(2)
if (path === undefined || rest.length > 0) {
  process.stderr.write('usage: write-corpus.js OUTPUT.jsonl\n')
  process.exit(2)
}
const { train } = await dividedCorpus()
await writeFile(path, train.map((document) => `${JSON.stringify(document)}\n`).join(''))
