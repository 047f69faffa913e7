import { expect, test } from 'vitest'
import { isNameOf, isSameOrigin, urlHost, type KnownNames } from './hosts.js'

test.each([
  ['127.0.0.1', '127.0.0.1:7700', true],
  ['127.0.0.1', 'localhost:7700', true],
  ['127.0.0.1', 'LOCALHOST', true],
  ['127.0.0.1', '[::1]:7700', true],
  ['localhost', 'localhost', true],
  // The near end of a tunnel.
  ['127.0.0.1', '10.1.2.3:80', true],
  ['127.0.0.1', 'evil.example:7700', false],
  ['127.0.0.1', '127.0.0.1.evil.example', false],
  ['127.0.0.1', 'not a name', false],
  ['127.0.0.1', '', false],
  ['::1', undefined, false],
  ['0.0.0.0', 'edge.example:7700', true],
])('a server on %s answers to %s: %s', (bound, header, isOne) => {
  expect(isNameOf({ bound }, header)).toBe(isOne)
})

/** As a certificate, without its files. */
const certified = (...names: string[]): KnownNames['certificate'] => ({ names, covers: (host) => names.includes(host) })

test.each<[string, KnownNames, string, boolean]>([
  ['a name that it was told', { bound: '0.0.0.0', names: ['edge.example', 'Edge'] }, 'edge:7700', true],
  ['a name that it was not told', { bound: '0.0.0.0', names: ['edge.example'] }, 'evil.example:7700', false],
  ['a name of its certificate', { bound: '0.0.0.0', certificate: certified('edge.example') }, 'edge.example', true],
  ['another than those of its certificate', { bound: '0.0.0.0', certificate: certified('edge.example') }, 'evil.example', false],
  ['a name that it was told beside its certificate', { bound: '::', names: ['proxy'], certificate: certified('edge') }, 'proxy', true],
  ['an address, whatever its names', { bound: '0.0.0.0', names: ['edge.example'] }, '10.1.2.3:7700', true],
  ['localhost, whatever its names', { bound: '0.0.0.0', names: ['edge.example'] }, 'localhost', true],
  ['a name that a loopback server was told', { bound: '127.0.0.1', names: ['proxy.example'] }, 'proxy.example', true],
  ['the host that it listens on', { bound: 'edge.lan', names: ['x'] }, 'edge.lan', true],
])('a server answers to %s: %j', (_, known, header, isOne) => {
  expect(isNameOf(known, header)).toBe(isOne)
})

test.each<[string, KnownNames, string]>([
  ['its address', { bound: '127.0.0.1' }, '127.0.0.1'],
  ['its address in brackets', { bound: '::1' }, '[::1]'],
  ['this machine, where it listens everywhere', { bound: '0.0.0.0' }, '127.0.0.1'],
  ['the name that it was told', { bound: '0.0.0.0', names: ['edge', 'x'], certificate: certified('edge.example') }, 'edge'],
  ['its address, if its certificate has it', { bound: '10.0.0.2', certificate: certified('edge', '10.0.0.2') }, '10.0.0.2'],
  ['localhost, if its certificate has that alone', { bound: '127.0.0.1', certificate: certified('edge', 'localhost') }, 'localhost'],
  [
    'a name of its certificate that others reach',
    { bound: '0.0.0.0', certificate: certified('localhost', '*.lan', 'edge.lan') },
    'edge.lan',
  ],
  ['whatever its certificate has', { bound: '::', certificate: certified('127.0.0.1') }, '127.0.0.1'],
  ['its address, if its certificate has nothing', { bound: '127.0.0.1', certificate: certified('*.lan') }, '127.0.0.1'],
])('clients are told %s', (_, known, host) => {
  expect(urlHost(known)).toBe(host)
})

test.each([
  [undefined, 'localhost:1', true],
  ['http://localhost:1', 'localhost:1', true],
  ['http://localhost:2', 'localhost:1', false],
  ['null', 'localhost:1', false],
])('a page of origin %s may connect to %s: %s', (origin, host, isOne) => {
  expect(isSameOrigin(origin, host)).toBe(isOne)
})
