import { expect, test } from 'vitest'
import { byteSize, duration, progressLine } from './progress.js'

const half = { label: 'round 2', done: 12, total: 24, elapsedSeconds: 4, details: 'loss 3.21', columns: 120 }

test('a bar shows the share, the rate and the time left', () => {
  expect(progressLine(half)).toBe('round 2  [############------------]  12/24  3.0/s  4 s left  loss 3.21')
})

test('a slow rate is told as seconds for each', () => {
  expect(progressLine({ ...half, elapsedSeconds: 30 })).toContain('2.5 s each  30 s left')
})

test('nothing is foretold before the first is done, and nothing is left after the last', () => {
  expect(progressLine({ ...half, done: 0 })).toBe('round 2  [------------------------]  0/24  loss 3.21')
  expect(progressLine({ ...half, done: 24 })).not.toContain('left')
})

test('a bar never wraps, and never breaks on an overfull total', () => {
  expect(progressLine({ ...half, columns: 20 })).toHaveLength(19)
  expect(progressLine({ ...half, done: 30 })).toContain('[########################]')
})

test.each([
  [59, 'round 2  [######------]  12/24  3.0/s  4 s left  loss 3.21'],
  [55, 'round 2  [####----]  12/24  3.0/s  4 s left  loss 3.21'],
  [54, 'round 2  12/24  3.0/s  4 s left  loss 3.21'],
  [42, 'round 2  12/24  4 s left  loss 3.21'],
  [35, 'round 2  12/24  loss 3.21'],
  [20, 'round 2  12/24  los'],
])('on a terminal of %d columns the bar gives way first, and the words last', (columns, text) => {
  expect(progressLine({ ...half, columns })).toBe(text)
})

test('bytes are counted as a person says them', () => {
  const bytes = { ...half, label: 'model.safetensors', done: 12e6, total: 24e6, unit: 'bytes', details: '' } as const
  expect(progressLine(bytes)).toBe('model.safetensors  [############------------]  12.0 MB/24.0 MB  3.0 MB/s  4 s left')
})

test('what has no total says how long it has taken', () => {
  const opening = { ...half, label: 'opening the model', done: 0, total: 0, details: '' }
  expect(progressLine({ ...opening, elapsedSeconds: 0.3 })).toBe('opening the model')
  expect(progressLine({ ...opening, elapsedSeconds: 3 })).toBe('opening the model  3 s')
  expect(progressLine({ ...half, total: 0 })).toBe('round 2  12  3.0/s  loss 3.21')
})

test.each([
  [0, '0 s'],
  [0.02, '0.1 s'],
  [0.34, '0.3 s'],
  [59.4, '59 s'],
  [59.6, '1 min 00 s'],
  [185, '3 min 05 s'],
  [3599.6, '1 h 00 min'],
  [7800, '2 h 10 min'],
])('%f seconds are %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text)
})

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1200, '1.2 kB'],
  [34_500_000, '34.5 MB'],
  [2e15, '2000.0 TB'],
])('%d bytes are %s', (bytes, text) => {
  expect(byteSize(bytes)).toBe(text)
})
