import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{server,client,shared,datasets,experiments}/**/*.test.ts', '*.test.ts'],
    exclude: ['dist/**', 'node_modules/**'],
    pool: 'forks',
    maxWorkers: 2,
    // No test is timed; this only ends one that hangs.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Tests of whole processes run dist/cli.js.
    globalSetup: ['./experiments/build-before-tests.mjs'],
  },
})
