/**
 * @file Structured logging, as the code that writes logs sees it. Where the lines go is decided in log.node.ts, or by the page in a browser.
 */
export type LogFields = Readonly<Record<string, unknown>>

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Fields are for programs that read the log, the message is for people: keep it the same for every line of its kind. */
export interface Log {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** A log whose every line carries these fields too. */
  child(fields: LogFields): Log
}
