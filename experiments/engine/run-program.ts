/**
 * @file Runs a program that an installation needs, and tells what it said if it failed.
 */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { beforeExit } from '../../shared/exit.node.js'
import { UserError } from '../../shared/errors.js'

/** Lines of its output that an error quotes. */
const QUOTED_LINES = 5

/**
 * @param needs what is to be installed if there is no such program
 * @throws UserError ENGINE_UNAVAILABLE if it cannot be started or fails
 */
export async function runProgram(program: string, args: readonly string[], { cwd, needs }: { cwd: string; needs: string }): Promise<void> {
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | string>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code ?? signal ?? 1))
  })
  const takeBack = beforeExit(async () => {
    child.kill()
    await ended.catch(() => undefined)
  })
  try {
    const [said, complained, status] = await Promise.all([text(child.stdout), text(child.stderr), ended])
    if (status === 0) return
    const lines = `${said}\n${complained}`.split('\n').filter((line) => line.trim() !== '')
    throw failed(`${program} ended with ${status}: ${lines.slice(-QUOTED_LINES).join('\n')}`, `see what it says; it needs ${needs}`)
  } catch (error) {
    if (error instanceof UserError) throw error
    throw failed(`${program} cannot be started: ${(error as Error).message}`, `install ${needs}`, error)
  } finally {
    takeBack()
  }
}

function failed(why: string, fix: string, cause?: unknown): UserError {
  return new UserError({ code: 'ENGINE_UNAVAILABLE', what: 'the native TensorFlow.js was not installed', why, fix }, { cause })
}
