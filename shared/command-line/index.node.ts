/**
 * @file The parts of the frame that a folder's command.ts uses.
 */
export { defineCommand, integerFlag, numberFlag, wordFlag } from './command.node.js'
export type { CommandContext, CommandDefinition, CommandResult, Panel, Progress } from './command.node.js'
export { downloadReport, hubAccess } from './downloads.node.js'
export { byteSize, duration } from './progress.js'
