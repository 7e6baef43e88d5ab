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
  // Only a test that hangs takes so long: machines may be busy.
  testTimeout: 180_000,
};
