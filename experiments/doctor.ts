/**
 * @file `cutlayer doctor`: what this machine has of what cutlayer needs, what is missing, and how to get it. Nothing is downloaded.
 */
import { cpus, freemem, totalmem } from 'node:os'
import { z } from 'zod'
import { byteSize, defineCommand } from '../shared/command-line/index.node.js'
import { threadsPerProcess } from '../shared/backend/open.node.js'
import { packageVersion } from '../shared/version.node.js'
import { table, type Column } from './inspect/table.js'
import { cacheFinding, engineFindings, hubFinding, shippedModelFinding, type Finding } from './doctor-findings.js'

/** As package.json's `engines` asks. */
const NODE_NEEDED = [20, 12] as const
/** Below this the shipped model with four clients gets tight: five processes of some 150 MB. */
const MEMORY_NEEDED_BYTES = 2 ** 30

export const doctorCommand = defineCommand({
  usage: 'doctor',
  summary: 'engines found, threads, memory, cache folders, the hub; what is missing and how to get it',
  example: 'cutlayer doctor\ncutlayer doctor --format json',
  options: z.object({}),
  async run(context) {
    const findings = [
      nodeFinding(process.versions.node),
      processorFinding(),
      memoryFinding(totalmem(), freemem()),
      ...(await engineFindings()),
      await cacheFinding(),
      await hubFinding(),
      await shippedModelFinding(),
    ]
    const missing = findings.filter(({ status }) => status === 'missing')
    const paint = { ok: 'green', missing: 'red', absent: 'dim' } as const
    const text = [
      `cutlayer ${packageVersion()} on ${process.platform} ${process.arch}\n\n`,
      table(COLUMNS, findings, (title) => context.paint('bold', title)),
      `\n${missing.length === 0 ? context.paint(paint.ok, 'all that is needed is there') : `${missing.length} of what is needed is missing:`}\n`,
      ...findings.flatMap(({ what, status, fix }) => (fix === null ? [] : [`${context.paint(paint[status], what)}: ${fix}\n`])),
    ].join('')
    const host = { cutlayer: packageVersion(), platform: process.platform, arch: process.arch }
    return { data: { ...host, is_ready: missing.length === 0, findings }, text }
  },
})

const COLUMNS: readonly Column<Finding>[] = [
  { title: 'what', cell: ({ what }) => what },
  { title: 'status', cell: ({ status }) => STATUS_WORDS[status] },
  { title: 'details', cell: ({ details }) => details },
]

const STATUS_WORDS: Readonly<Record<Finding['status'], string>> = { ok: 'ok', missing: 'missing', absent: 'not there' }

/** @param version as 20.12.0 */
export function nodeFinding(version: string): Finding {
  const [major, minor] = version.split('.').map(Number) as [number, number]
  const [neededMajor, neededMinor] = NODE_NEEDED
  const isNew = major > neededMajor || (major === neededMajor && minor >= neededMinor)
  return {
    what: 'node',
    status: isNew ? 'ok' : 'missing',
    details: version,
    facts: { version, needed: NODE_NEEDED.join('.') },
    fix: isNew ? null : `install Node ${NODE_NEEDED.join('.')} or newer`,
  }
}

function processorFinding(): Finding {
  const threads = threadsPerProcess(1)
  const model = cpus()[0]?.model.trim() ?? 'unknown'
  return {
    what: 'processor',
    status: 'ok',
    details: `${model}, ${cpus().length} cores; a program computes with ${threads} ${threads === 1 ? 'thread' : 'threads'} unless told otherwise`,
    facts: { model, cores: cpus().length, threads },
    fix: null,
  }
}

/** Memory in bytes. */
export function memoryFinding(totalBytes: number, freeBytes: number): Finding {
  const isEnough = totalBytes >= MEMORY_NEEDED_BYTES
  return {
    what: 'memory',
    status: isEnough ? 'ok' : 'missing',
    details: `${byteSize(totalBytes)}, ${byteSize(freeBytes)} of it free`,
    facts: { total_bytes: totalBytes, free_bytes: freeBytes },
    fix: isEnough ? null : 'run fewer clients on this machine (federation.num_clients), or use one with at least 1 GB',
  }
}
