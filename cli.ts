#!/usr/bin/env -S MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=999424 MALLOC_TRIM_THRESHOLD_=4194304 node --max-semi-space-size=2
/**
 * @file The `cutlayer` program: registers the commands that the folders export, and nothing else.
 *
 * A folder's command.ts exports `commands: readonly CommandDefinition[]` (shared/command-line/command.node.ts); a new folder's list is added below.
 */
import { commands as clientCommands } from './client/command.js'
import { commands as experimentCommands } from './experiments/command.js'
import { commands as serverCommands } from './server/command.js'
import { runProcess } from './shared/command-line/process.node.js'

runProcess({
  summary:
    'Federated split fine-tuning of language models: clients train the bottom blocks on their own text, an edge server trains the top.',
  commands: [...experimentCommands, ...serverCommands, ...clientCommands],
})
