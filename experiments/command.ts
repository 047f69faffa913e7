/**
 * @file The commands of this folder.
 */
import type { CommandDefinition } from '../shared/command-line/index.node.js'
import { benchMemoryCommand } from './bench/memory/command.js'
import { benchClientsCommand } from './bench/clients.js'
import { benchRoundCommand } from './bench/round.js'
import { benchStepCommand } from './bench/step.js'
import { benchWireCommand } from './bench/wire/command.js'
import { compareCommand } from './compare.js'
import { doctorCommand } from './doctor.js'
import { engineInstallCommand } from './engine/command.js'
import { evalCommand } from './eval.js'
import { exportCommand } from './export.js'
import { generateCommand } from './generate.js'
import { inspectCommand } from './inspect/inspect.js'
import { runCommand } from './run.js'
import { listCommand } from './inspect/list.js'
import { mergeCommand } from './merge.js'
import { planCommand } from './plan/command.js'
import { schemaCommand } from './schema.js'
import { sweepCommand } from './sweep/command.js'
import { validateCommand } from './validate.js'

/** As `cutlayer --help` lists them: from a first run to what one does with it. */
export const commands: readonly CommandDefinition[] = [
  runCommand,
  validateCommand,
  planCommand,
  schemaCommand,
  listCommand,
  inspectCommand,
  compareCommand,
  sweepCommand,
  evalCommand,
  generateCommand,
  exportCommand,
  mergeCommand,
  benchStepCommand,
  benchMemoryCommand,
  benchRoundCommand,
  benchClientsCommand,
  benchWireCommand,
  doctorCommand,
  engineInstallCommand,
]
