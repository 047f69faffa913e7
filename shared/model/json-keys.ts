/**
 * @file Finds keys that JSON text names twice. `JSON.parse` keeps the last and says nothing.
 */

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs

/** The first key that occurs twice in one object of `text`, at any depth, or null. text: JSON that `JSON.parse` accepts. */
export function duplicateKey(text: string): string | null {
  const open: (Set<string> | null)[] = [] // one set per open object, null for an array
  let lastString = ''
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(null)
    else if (token === '}' || token === ']') open.pop()
    else if (token === ':') {
      const key: unknown = JSON.parse(lastString)
      const seen = open.at(-1)
      if (typeof key !== 'string' || !seen) continue
      if (seen.has(key)) return key
      seen.add(key)
    } else if (token !== ',') lastString = token
  }
  return null
}
