import fc from 'fast-check'
import t from 'tap'
import { backoff } from '../lib/backoff.ts'

const options = { initialDelay: 2000, maxDelay: 60_000 }

t.test('2, 4, 8, 16, 32, 60, 60 s', async (t) => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8].map((attempt) => backoff(attempt, options, 0.5) / 1000)
  t.same(delays, [2, 4, 8, 16, 32, 60, 60, 60])
  t.equal(backoff(5000, options, 0.5), 60_000, 'for ever')
  t.equal(backoff(Infinity, options, 0.5), 60_000)
})

t.test('with up to 20 % of jitter in either direction', async (t) => {
  t.equal(backoff(1, options, 0), 1600)
  t.equal(backoff(1, options, 1), 2400)
  const seen = new Set<number>()
  fc.assert(fc.property(fc.integer({ min: 1, max: 100 }), (attempt) => {
    const delay = backoff(attempt, options)
    const middle = backoff(attempt, options, 0.5)
    seen.add(delay / middle)
    return Number.isInteger(delay) && delay >= middle * 0.8 && delay <= middle * 1.2
  }), { numRuns: 1000 })
  t.ok(seen.size > 100, 'a fleet does not come back all at once')
})
