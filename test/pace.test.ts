import t, { type Test } from 'tap'
import { Pace } from '../lib/tail/pace.ts'

/** A pace, and the clock by which it goes. */
function setUp (t: Test) {
  const clock = { now: 1e6 }
  t.intercept(performance, 'now', { value: () => clock.now })
  return { pace: new Pace(), clock }
}

t.test('too many bells in a short while', async (t) => {
  const { pace, clock } = setUp(t)
  const bells = (count: number) => Array.from({ length: count }, () => pace.bell()).lastIndexOf(true)
  t.equal(bells(20), -1)
  clock.now += 101
  t.equal(bells(20), -1, 'another while')
  t.equal(pace.bell(), true)
})

t.test('a bell while clients are written to for too long', async (t) => {
  const { pace, clock } = setUp(t)
  t.equal(pace.bell(), false)
  pace.note(1, 33)
  t.equal(pace.bell(), false, 'a third of it')
  pace.note(1, 1)
  t.equal(pace.bell(), true)
  clock.now += 101
  t.equal(pace.bell(), false, 'that was before')
})

t.test('a pause is as long as what came before it asks for', async (t) => {
  const { pace } = setUp(t)
  const pauseAfter = (...notes: Array<[rows: number, spent: number]>) => {
    for (const [rows, spent] of notes) pace.note(rows, spent)
    return pace.pause()
  }
  t.equal(pauseAfter(), 5)
  t.equal(pauseAfter([50, 1]), 5)
  t.equal(pauseAfter([51, 1]), 20, 'many rows')
  t.equal(pauseAfter([30, 1], [30, 1]), 20, 'of several reads')
  t.equal(pauseAfter([5, 12]), 24, 'many clients')
  t.equal(pauseAfter([1000, 700]), 100, 'but not for long')
  t.equal(pauseAfter(), 5, 'and only once')
})

t.test('quiet is where no row has come for a while', async (t) => {
  const { pace, clock } = setUp(t)
  pace.note(1, 0)
  clock.now += 99
  t.equal(pace.quiet, false)
  pace.note(0, 0)
  clock.now += 1
  t.equal(pace.quiet, true, 'reads that bring none do not count')
  for (let i = 0; i < 21; i++) pace.bell()
  t.equal(pace.quiet, false, 'a row is to come')
})
