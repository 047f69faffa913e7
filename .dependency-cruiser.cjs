/**
 * @file Who may import whom. ARCHITECTURE.md says why.
 */
const TESTS = '(\\.test\\.ts$|/testing/|^experiments/build-before-tests)'
const NODE_ONLY_FILES = `(\\.node\\.ts$|^client/command\\.ts$|${TESTS})`
/** Packages that do not run in a browser. Their names may be used in *.node.ts only. */
const NODE_ONLY_PACKAGES = '^node_modules/(onnxruntime-node|@tensorflow/tfjs-node-gpu|pino|commander|socket\\.io|@stdlib/[^/]+)/'

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    { name: 'no-cycle', comment: 'no import cycles, types included', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'resolvable',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'shared-stands-alone',
      comment: 'shared imports no sibling folder',
      severity: 'error',
      from: { path: '^shared/', pathNot: TESTS },
      to: { path: '^(server|client|datasets|experiments|cli\\.ts|index\\.ts)' },
    },
    {
      name: 'folders-meet-in-shared',
      comment: 'server, client and datasets import only shared; client/command.ts may import datasets too',
      severity: 'error',
      from: { path: '^(server|client|datasets)/', pathNot: [TESTS, '^client/command\\.ts$'] },
      to: { path: '^(server|client|datasets|experiments|cli\\.ts|index\\.ts)', pathNot: '^$1/' },
    },
    {
      name: 'client-command-and-datasets',
      comment: 'client/command.ts imports shared, datasets and its own folder',
      severity: 'error',
      from: { path: '^client/command\\.ts$' },
      to: { path: '^(server|experiments|cli\\.ts|index\\.ts)' },
    },
    {
      name: 'socket-io-in-socket-files',
      comment: 'only server/socket.ts and client/socket.ts know socket.io',
      severity: 'error',
      from: { pathNot: ['^(server|client)/socket\\.ts$', TESTS, '^node_modules'] },
      to: { path: '^node_modules/(socket\\.io|socket\\.io-client)/' },
    },
    {
      name: 'node-modules-of-node-in-node-files',
      comment: 'shared and client run in a browser: node:* is imported in *.node.ts only',
      severity: 'error',
      from: { path: '^(shared|client)/', pathNot: NODE_ONLY_FILES },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'node-packages-in-node-files',
      comment: 'packages that need Node are imported in *.node.ts only',
      severity: 'error',
      from: { path: '^(shared|client)/', pathNot: NODE_ONLY_FILES },
      to: { path: NODE_ONLY_PACKAGES },
    },
    {
      name: 'browser-files-import-browser-files',
      comment: 'a file that runs in a browser imports no *.node.ts',
      severity: 'error',
      from: { path: '^(shared|client)/', pathNot: NODE_ONLY_FILES },
      to: { path: '\\.node\\.ts$' },
    },
    {
      name: 'no-tests-in-the-product',
      comment: 'code that ships imports no test and no test helper',
      severity: 'error',
      from: { pathNot: TESTS },
      to: { path: TESTS },
    },
    {
      name: 'declared-packages',
      comment: 'code that ships imports only what package.json lists as a dependency',
      severity: 'error',
      from: { pathNot: [TESTS, '^node_modules', '\\.mjs$'] },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], pathNot: '^node_modules/(@types)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|runs)/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true, // type-only imports count
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
