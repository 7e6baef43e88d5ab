// Tests run straight from the TypeScript sources, as ES modules.
import { availableParallelism } from 'node:os';

export default {
  globalSetup: './testutils/bundle-programs.js',
  testEnvironment: './testutils/environment.js',
  roots: ['<rootDir>/cmd', '<rootDir>/src', '<rootDir>/agents', '<rootDir>/testutils'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }],
  },
  testSequencer: './testutils/slowest-first.js',
  // One more than there are cores: some tests wait for clocks and for processes.
  maxWorkers: availableParallelism() + 1,
  // A worker keeps what its test files leave behind: one that has grown is replaced.
  workerIdleMemoryLimit: '1GB',
  // Only a test that hangs takes so long: machines may be busy.
  testTimeout: 180_000,
};
