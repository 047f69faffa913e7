/**
 * @file Asks PEFT itself what it makes of an adapter folder, where Python and its packages are installed.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const NOT_INSTALLED = 77

/** As transformers takes rows: padded, -100 where nothing is scored, labels not shifted. */
export type PaddedRows = Readonly<Record<'input_ids' | 'attention_mask' | 'labels', number[][]>>

export interface PeftVerdict {
  /** Keys of LoRA weights that the model has and the adapter lacks, and the other way round. */
  readonly missing: readonly string[]
  readonly unexpected: readonly string[]
  /** Nats per scored token. */
  readonly loss: number
  /** Scored tokens. */
  readonly tokens: number
}

/** Runs peft_check.py; null, with the reason printed, where its packages are not installed. */
export async function checkInPeft(modelFolder: string, adapterFolder: string, rows: PaddedRows): Promise<PeftVerdict | null> {
  const folder = mkdtempSync(join(tmpdir(), 'cutlayer-peft-check-'))
  try {
    const rowsFile = join(folder, 'rows.json')
    writeFileSync(rowsFile, JSON.stringify(rows))
    const script = fileURLToPath(new URL('peft_check.py', import.meta.url))
    const python = spawn('python3', [script, modelFolder, adapterFolder, rowsFile], { env: { ...process.env, HF_HUB_OFFLINE: '1' } })
    const status = new Promise<number | null>((done) => python.on('error', () => done(null)).on('close', done))
    const [stdout, stderr, code] = await Promise.all([text(python.stdout), text(python.stderr), status])
    if (code === null || code === NOT_INSTALLED) {
      console.log(`skipped: ${code === null ? 'python3 cannot be run here' : stderr.trim()}`)
      return null
    }
    if (stdout === '') throw new Error(stderr)
    return JSON.parse(stdout) as PeftVerdict
  } finally {
    rmSync(folder, { recursive: true })
  }
}
