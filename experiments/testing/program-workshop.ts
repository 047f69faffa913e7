/**
 * @file A workshop with programs in it, for each test of a file or for all of them. What is left of either is ended and removed.
 */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { unreachable } from '../../shared/errors.js'
import { startedPrograms, type Program, type StartedPrograms } from './program.js'
import { openWorkshop, type Workshop } from './workshop.js'

export interface ProgramWorkshop {
  /** The present one. */
  readonly workshop: Omit<Workshop, 'remove'>
  readonly programs: StartedPrograms
  /** Types a command in its folder. */
  start(...args: string[]): Program
}

/** To be called once, at the top of a file of tests. */
export function programWorkshop(forEach: 'test' | 'file'): ProgramWorkshop {
  let opened: Workshop | null = null
  const current = (): Workshop => opened ?? unreachable('a workshop outside of tests')
  const programs = startedPrograms()
  const open = async (): Promise<void> => void (opened = await openWorkshop())
  const close = async (): Promise<void> => {
    await programs.end(current().folder)
    await current().remove()
  }
  if (forEach === 'test') {
    beforeEach(open)
    afterEach(close)
  } else {
    beforeAll(open)
    afterAll(close)
  }
  return {
    workshop: {
      get folder() {
        return current().folder
      },
      get environment() {
        return current().environment
      },
      at: (...parts) => current().at(...parts),
      config: (...given) => current().config(...given),
    },
    programs,
    start: (...args) => programs.start(args, { cwd: current().folder, env: current().environment }),
  }
}
