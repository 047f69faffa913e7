/**
 * @file `cutlayer token create|list|revoke`: who may join the runs of a server whose `transport.token_file` names the file.
 */
import { rm, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { defineCommand, integerFlag, type CommandContext, type CommandDefinition } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { asOutputError } from '../../shared/model/new-folder.node.js'
import { checkedClientId } from '../../shared/protocol/client-id.js'
import { changeStore, readStore } from './store-file.js'
import { stateOf, withNewToken, withRevoked, type TokenEntry, type TokenState, type TokenStore } from './store.js'

const DEFAULT_FILE = 'tokens.json'
const FILE_FLAG = { '--file <file>': `the server's file of tokens [${DEFAULT_FILE}]` }
const file = z.string().min(1, 'a file').default(DEFAULT_FILE)

const createCommand = defineCommand({
  usage: 'token create <id>',
  summary: 'a token for one client, shown this once; kept is its SHA-256',
  example: 'cutlayer token create ada --out ada.token\ncutlayer token create bob --expires 30 --file tokens.json > bob.token',
  flags: {
    ...FILE_FLAG,
    '--out <file>': 'write the token to a new file, readable by its owner alone, in place of stdout',
    '--expires <days>': 'days after which it is refused [never]',
  },
  options: z.object({ file, out: z.string().min(1, 'a file').optional(), expires: integerFlag(1, 36_500).optional() }),
  async run(context, [operand], options) {
    const id = checkedClientId(operand!)
    const days = options.expires ?? null
    const made = (store: TokenStore) => withNewToken(store, id, { days, now: new Date() }) ?? refuseSecond(id, options.file)
    const { entry, token } =
      options.out === undefined
        ? await changeStore(options.file, made)
        : await createInto(options.out, () => changeStore(options.file, made))
    const data = { id, file: options.file, created: entry.created, expires: entry.expires }
    const until = entry.expires === null ? '' : ` until ${entry.expires}`
    if (options.out !== undefined)
      return {
        data: { ...data, out: options.out },
        text: `the token of ${id} is in ${options.out}${until}; take it to the client's machine, for --token-file`,
      }
    tellOnce(context, id, until)
    return { data: { ...data, token }, text: token }
  },
})

const listCommand = defineCommand({
  usage: 'token list',
  summary: 'the clients that have tokens, and how these are',
  example: 'cutlayer token list --file tokens.json',
  flags: FILE_FLAG,
  options: z.object({ file }),
  async run(context, _, options) {
    const store = readStore(options.file) ?? refuseShared(options.file)
    const now = new Date()
    const tokens = store.tokens.map((entry) => ({ id: entry.id, state: stateOf(entry, now), ...timesOf(entry) }))
    const style = { valid: 'green', expired: 'yellow', revoked: 'red' } as const satisfies Record<TokenState, string>
    const width = Math.max(2, ...tokens.map(({ id }) => id.length))
    const lines = tokens.map(
      ({ id, state, created, expires, revoked }) =>
        `${id.padEnd(width)}  ${context.paint(style[state], state.padEnd(7))}  created ${created.slice(0, 10)}, ${revoked ? `revoked ${revoked.slice(0, 10)}` : expires ? `expires ${expires.slice(0, 10)}` : 'does not expire'}`,
    )
    return { data: { file: options.file, tokens }, text: lines.join('\n') || `${options.file} holds no tokens` }
  },
})

const revokeCommand = defineCommand({
  usage: 'token revoke <id>',
  summary: "a client's token is refused from now on; one that is connected is put out within seconds",
  example: 'cutlayer token revoke ada',
  flags: FILE_FLAG,
  options: z.object({ file }),
  async run(_, [operand], options) {
    const id = checkedClientId(operand!)
    // A file that is not there is not made for this.
    readStore(options.file)
    await changeStore(options.file, (store) => ({ store: withRevoked(store, id, new Date()) ?? refuseUnknown(id, options.file) }))
    return {
      data: { id, file: options.file },
      text: `the token of ${id} is revoked; servers that use ${options.file} refuse it from now on`,
    }
  },
})

export const commands: readonly CommandDefinition[] = [createCommand, listCommand, revokeCommand]

function timesOf({ created, expires, revoked }: TokenEntry): Pick<TokenEntry, 'created' | 'expires' | 'revoked'> {
  return { created, expires, revoked }
}

/** The file first: a token that cannot be written down is not made. */
async function createInto<Made extends { readonly token: string }>(out: string, make: () => Promise<Made>): Promise<Made> {
  try {
    await writeFile(out, '', { mode: 0o600, flag: 'wx' })
    try {
      const made = await make()
      await writeFile(out, `${made.token}\n`)
      return made
    } catch (error) {
      await rm(out, { force: true })
      throw error
    }
  } catch (error) {
    throw asOutputError(out, error)
  }
}

function tellOnce(context: CommandContext, id: string, until: string): void {
  if (context.format === 'text')
    context.event(
      { event: 'token' },
      `the token of ${id}${until}, shown this once: put it into a file on the client's machine, for --token-file`,
    )
}

function refuseSecond(id: string, path: string): never {
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `no token was made for ${id}`,
    why: `it has one in ${path} that is valid, and a client has one token`,
    fix: `revoke that one first: cutlayer token revoke ${id} --file ${path}`,
  })
}

function refuseUnknown(id: string, path: string): never {
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `there is no token of ${id} to revoke`,
    why: `${path} has none for it, or it is revoked already`,
    fix: `see who has one: cutlayer token list --file ${path}`,
  })
}

function refuseShared(path: string): never {
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `${path} has no list of tokens`,
    why: 'it holds something else, such as one token that all clients share',
    fix: 'name a file that `cutlayer token create NAME` made',
  })
}
