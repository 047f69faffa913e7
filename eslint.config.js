/**
 * @file Lint rules. Layout is prettier's; folder rules are dependency-cruiser's (.dependency-cruiser.cjs).
 */
import js from '@eslint/js'
import tseslint from 'typescript-eslint'

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'runs/', '**/golden/**', '**/model/**/*.json'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['vitest.config.ts'] }, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/ban-ts-comment': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      // The rules that need types: a promise nobody waits for loses its error.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // An unused argument or a dropped key is marked by its underscore.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        // test.only would let all other tests pass unseen.
        { selector: "MemberExpression[object.name=/^(test|it|describe)$/][property.name='only']", message: 'run all the tests' },
      ],
    },
  },
  {
    // These run in a browser too. What they may import is dependency-cruiser's to say; globals of Node need no import.
    files: ['{shared,client}/**/*.ts'],
    ignores: ['**/*.node.ts', '**/*.test.ts', '**/testing/**', 'client/command.ts'],
    rules: {
      'no-restricted-globals': ['error', ...['Buffer', 'process', 'global', 'require', '__dirname', '__filename']],
    },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {
      globals: { console: 'readonly', process: 'readonly', module: 'writable', require: 'readonly', Buffer: 'readonly', URL: 'readonly' },
    },
  },
)
