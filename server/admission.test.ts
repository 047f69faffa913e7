import { describe, expect, test } from 'vitest'
import { PROTOCOL_VERSION, type MessageOf } from '../shared/protocol/messages.js'
import { Admission, type AdmissionRules } from './admission.js'

const rules: AdmissionRules = { token: 'secret', clients: 2, codecs: () => ['fp32'], undivided: false }

function hello(client: string, changes: Partial<MessageOf<'hello'>> = {}): MessageOf<'hello'> {
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    client,
    token: 'secret',
    secret: null,
    resume: false,
    part: null,
    own_data: false,
    capabilities: { codecs: ['fp32', 'fp16'], engine: 'reference', software: 'test' },
    ...changes,
  }
}

const refused = (code: string) => expect.objectContaining({ code })

describe('a client', () => {
  test.each([
    ['with another token', { token: 'secreT' }, 'TOKEN_REFUSED'],
    ['without a token', { token: null }, 'TOKEN_REFUSED'],
    ['of another protocol version', { protocol: PROTOCOL_VERSION + 1 }, 'PROTOCOL_VERSION_DIFFERS'],
    ['that does not know the codec', { capabilities: { codecs: ['fp16'], engine: 'x', software: 'y' } }, 'MESSAGE_INVALID'],
  ])('%s is refused', (_, changes, code) => {
    expect(() => new Admission(rules).admit(hello('a', changes))).toThrow(refused(code))
  })

  test('needs no token where none is asked for', () => {
    expect(new Admission({ ...rules, token: null }).admit(hello('a', { token: null }))).toEqual({ index: 0, count: 2 })
  })

  test('is refused where its folder would be that of another, and may come back to its own', () => {
    const admission = new Admission({ ...rules, namesFolders: true })
    admission.admit(hello('Ada'))
    expect(() => admission.admit(hello('ada'))).toThrow(refused('CLIENT_ID_IN_USE'))
    expect(() => admission.admit(hello('Ada'))).not.toThrow()
    expect(() => new Admission(rules).admit(hello('ada'))).not.toThrow()
  })

  test('is refused when the run is full, and one of the run may come back', () => {
    const admission = new Admission(rules)
    admission.admit(hello('a'))
    admission.admit(hello('b'))
    expect(() => admission.admit(hello('c'))).toThrow(refused('RUN_FULL'))
    expect(admission.admit(hello('a'))).toEqual({ index: 0, count: 2 })
  })

  test('under an id that is in the run is refused unless it shows the secret of the process there', () => {
    const admission = new Admission(rules)
    admission.admit(hello('a', { secret: 'mine' }))
    for (const secret of [null, 'yours', 'mine '])
      expect(() => admission.check(hello('a', { secret }), true)).toThrow(refused('CLIENT_ID_IN_USE'))
    expect(() => admission.admit(hello('a', { secret: 'mine' }), true)).not.toThrow()
    // Once nobody is there, whoever knows the token may take the id; then its secret counts.
    admission.admit(hello('a', { secret: 'yours' }))
    expect(() => admission.check(hello('a', { secret: 'mine' }), true)).toThrow(refused('CLIENT_ID_IN_USE'))
  })

  test('that keeps no secret can be replaced by nobody, and nothing can be learned by trying', () => {
    const admission = new Admission(rules)
    admission.admit(hello('a'))
    for (const secret of [null, '', 'guess'])
      expect(() => admission.check(hello('a', { secret }), true)).toThrow(refused('CLIENT_ID_IN_USE'))
    // Whether the id is taken is for those who know the token.
    expect(() => admission.check(hello('a', { token: 'guess' }), true)).toThrow(refused('TOKEN_REFUSED'))
  })

  test('that was refused takes no place', () => {
    const admission = new Admission(rules)
    for (const client of ['x', 'y', 'z']) expect(() => admission.admit(hello(client, { token: 'guess' }))).toThrow(refused('TOKEN_REFUSED'))
    expect(admission.admit(hello('a'))).toEqual({ index: 0, count: 2 })
  })
})

describe('a part of the data', () => {
  test('goes to clients in the order of first joining, and stays theirs', () => {
    const admission = new Admission(rules)
    expect(admission.admit(hello('late-in-the-alphabet'))).toEqual({ index: 0, count: 2 })
    expect(admission.admit(hello('b'))).toEqual({ index: 1, count: 2 })
    expect(admission.admit(hello('late-in-the-alphabet'))).toEqual({ index: 0, count: 2 })
  })

  test('that a client asks for is not given to another', () => {
    const admission = new Admission(rules)
    expect(admission.admit(hello('a', { part: { index: 0, count: 2 } }))).toEqual({ index: 0, count: 2 })
    expect(admission.admit(hello('b'))).toEqual({ index: 1, count: 2 })
  })

  test('is not given to who brings its own data, nor where one client holds all', () => {
    expect(new Admission(rules).admit(hello('a', { own_data: true }))).toBeNull()
    expect(new Admission({ ...rules, clients: 1, undivided: true }).admit(hello('a'))).toBeNull()
  })
})
