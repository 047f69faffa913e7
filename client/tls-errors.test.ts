import { expect, test } from 'vitest'
import { tlsError } from './tls-errors.js'

const ORIGIN = 'https://edge.example:7700'

/** As socket.io hands it on: its own error around the WebSocket's event around Node's error. */
const failure = (code: string, message = code, more: object = {}): Error =>
  Object.assign(new Error('websocket error'), { description: { error: Object.assign(new Error(message), { code, ...more }) } })

test.each([
  ['CERT_NOT_YET_VALID', 'it is not valid yet'],
  ['CERT_HAS_EXPIRED', 'it has expired'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'nobody but itself vouches for it'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'the server leaves out what leads to it'],
  ['CERT_REVOKED', 'CERT_REVOKED (CERT_REVOKED)'],
])('%s is a certificate that is not accepted', (code, why) => {
  expect(tlsError(ORIGIN, failure(code))).toMatchObject({ code: 'CERTIFICATE_REFUSED', why: expect.stringContaining(why) as string })
})

test('another name is told beside those of the certificate', () => {
  const cert = { subjectaltname: 'DNS:a.example, IP Address:10.0.0.1' }
  expect(tlsError(ORIGIN, failure('ERR_TLS_CERT_ALTNAME_INVALID', 'Hostname/IP does not match', { cert }))?.why).toBe(
    'it stands for a.example, 10.0.0.1, and not for edge.example',
  )
  expect(tlsError(ORIGIN, failure('ERR_TLS_CERT_ALTNAME_INVALID'))?.why).toContain('other names')
})

test.each([
  ['EPROTO', '0A00010B:SSL routines:ssl3_get_record:wrong version number'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'ssl3_get_record'],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ssl3_get_record'],
])('%s (%s) is a server that does not speak TLS', (code, message) => {
  expect(tlsError(ORIGIN, failure(code, message))).toMatchObject({ code: 'SERVER_UNREACHABLE', why: 'what answers there is not TLS' })
})

test.each([
  [failure('ECONNREFUSED')],
  [new Error('timeout')],
  [{ description: null }],
  [{ description: { error: null } }],
  [null],
  ['text'],
])('%o is about something else', (other) => {
  expect(tlsError(ORIGIN, other)).toBeNull()
})
