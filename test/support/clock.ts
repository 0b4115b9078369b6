import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import type { Test } from 'tap'

/** For the rest of the test, time passes only where this is called: by so many milliseconds. */
export function stopClock (t: Test): (milliseconds: number) => void {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  mock.timers.enable({ apis: ['setTimeout'] })
  // The promise of node:timers/promises as well.
  syncBuiltinESMExports()
  t.teardown(() => {
    mock.timers.reset()
    syncBuiltinESMExports()
  })
  return (milliseconds) => {
    now += milliseconds
    mock.timers.tick(milliseconds)
  }
}

/** `performance.now()` stands still until what this returns is called, at the end of the test at the latest; timers run on. */
export function holdClock (t: Test): () => void {
  const now = performance.now()
  const { mock: held } = mock.method(performance, 'now', () => now)
  t.teardown(() => held.restore())
  return () => held.restore()
}
