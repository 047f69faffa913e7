import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{server,client,shared,datasets,experiments}/**/*.test.ts', '*.test.ts'],
    exclude: ['dist/**', 'node_modules/**'],
    pool: 'forks',
    // One more than cores of a small machine: tests of processes wait for much of their time.
    maxWorkers: 3,
    // No test is timed; this only ends one that hangs.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // No test asks a host by mistake; those of the hub have one on this machine.
    env: { HF_HUB_OFFLINE: '1' },
    // Tests of whole processes run dist/cli.js.
    globalSetup: ['./experiments/build-before-tests.mjs'],
  },
})
