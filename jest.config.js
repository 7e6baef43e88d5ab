// Tests run straight from the TypeScript sources, as ES modules.
export default {
  globalSetup: './testutils/bundle-programs.js',
  testEnvironment: './testutils/environment.js',
  roots: ['<rootDir>/cmd', '<rootDir>/src', '<rootDir>/agents', '<rootDir>/testutils'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }],
  },
  maxWorkers: '100%',
  testTimeout: 30_000,
};
