/**
 * @file The protocol's page, `shared/protocol/README.md`: prose by hand, and tables between marks, made from the schemas.
 */
import { UserError } from '../../shared/errors.js'
import { generatedParts } from './tables.js'

const END = '<!-- end -->'

/** The page with its tables made anew. @throws UserError BAD_ARGUMENT if it lacks the place of one. */
export function renewedPage(page: string): string {
  return Object.entries(generatedParts()).reduce((text, [name, part]) => withPart(text, name, part), page)
}

function withPart(page: string, name: string, part: string): string {
  const begin = `<!-- generated: ${name} -->\n`
  const start = page.indexOf(begin)
  const end = page.indexOf(END, start)
  if (start < 0 || end < 0) {
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: 'the page of the protocol cannot be made anew',
      why: `it has no place for the part "${name}"`,
      fix: `add a line ${begin.trim()} and, under it, a line ${END}`,
    })
  }
  return `${page.slice(0, start + begin.length)}\n${part}\n${page.slice(end)}`
}
