import { defineConfig } from 'vitest/config'

// `pure` needs no service and ends in seconds; `real` runs against a real Postgres, real sockets and real processes.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'pure',
          include: ['test/{specs,machines,pure}/**/*.test.ts', 'test/*.test.ts'],
          exclude: ['**/*.real.test.ts'],
        },
      },
      {
        test: {
          name: 'real',
          include: ['test/{controller,api,system,deploy,browser}/**/*.test.ts', 'test/**/*.real.test.ts'],
          exclude: ['**/node_modules/**'],
          globalSetup: 'test/support/postgres-global.ts',
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // A deadline for what real I/O brings about, not a pause: a busy machine needs more than the default second.
          expect: { poll: { timeout: 15_000, interval: 20 } },
        },
      },
    ],
  },
})
