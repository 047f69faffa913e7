import { expect, test } from 'vitest'
import { restoreUtil } from './load.node.js'

test('functions that Node has removed are put back for the native package, and others left as they are', () => {
  const util: { isNullOrUndefined?: (value: unknown) => boolean; isArray?: (value: unknown) => boolean } = {}
  restoreUtil(util)
  expect([null, undefined, 0, ''].map((value) => util.isNullOrUndefined!(value))).toEqual([true, true, false, false])
  expect([[], 'a'].map((value) => util.isArray!(value))).toEqual([true, false])
  const own = { isNullOrUndefined: () => 'own', isArray: () => 'own' }
  restoreUtil(own)
  expect([own.isNullOrUndefined(), own.isArray()]).toEqual(['own', 'own'])
})
