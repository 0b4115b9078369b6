import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import type { Test } from 'tap'

/** For the rest of the test, time passes only where this is called: by so many milliseconds. */
export function stopClock (t: Test): (milliseconds: number) => void {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const { clearTimeout: clearReal } = globalThis
  mock.timers.enable({ apis: ['setTimeout'] })
  // Timers from before as well.
  const { clearTimeout: clearMocked } = globalThis
  globalThis.clearTimeout = (timer) => {
    clearReal(timer)
    clearMocked(timer)
  }
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

/** For the rest of the test, `performance.now()` stands still after so many milliseconds; timers run on. */
export function holdClock (t: Test, after: number): void {
  const now = performance.now.bind(performance)
  const end = now() + after
  t.intercept(performance, 'now', { value: () => Math.min(now(), end) })
}
