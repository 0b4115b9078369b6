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
  pace.note(1, 60)
  t.equal(pace.bell(), false)
  pace.note(1, 10)
  t.equal(pace.bell(), true)
  clock.now += 110
  t.equal(pace.bell(), false, 'that was before')
})

t.test('a bell after clients were written to for longer than that', async (t) => {
  const { pace, clock } = setUp(t)
  t.equal(pace.bell(), false)
  clock.now += 150
  pace.note(1, 150)
  t.equal(pace.bell(), true)
  clock.now += 500
  pace.note(1, 150)
  t.equal(pace.bell(), false, 'but not long ago')
})

t.test('a pause is as long as what came before it asks for', async (t) => {
  const { pace } = setUp(t)
  const pauseAfter = (...notes: Array<[rows: number, spent: number]>) => {
    for (const [rows, spent] of notes) pace.note(rows, spent)
    return pace.pause()
  }
  t.equal(pauseAfter([1, 1]), 10)
  t.equal(pauseAfter([50, 1]), 10)
  t.equal(pauseAfter([51, 1]), 20, 'many rows')
  t.equal(pauseAfter([30, 1], [30, 1]), 20, 'of several reads')
  t.equal(pauseAfter([5, 24]), 12, 'many clients')
  t.equal(pauseAfter([1000, 700]), 50, 'but not for long')
  t.equal(pauseAfter([1, 1]), 10, 'and only once')
})

t.test('quiet is where no row has come for a while', async (t) => {
  const { pace, clock } = setUp(t)
  pace.note(1, 0)
  clock.now += 150
  t.not(pace.pause(), null, 'however long it took since to look around')
  clock.now += 99
  pace.note(0, 0)
  t.not(pace.pause(), null)
  clock.now += 1
  t.equal(pace.pause(), null, 'reads that bring none do not count')
  for (let i = 0; i < 21; i++) pace.bell()
  t.not(pace.pause(), null, 'a row is to come')
})

t.test('quiet is where rows come more seldom than that, however long it takes to hand them on', async (t) => {
  const { pace, clock } = setUp(t)
  for (let i = 0; i < 3; i++) {
    clock.now += 300
    pace.note(1, 300)
    t.equal(pace.pause(), 50, 'not while each read brings some')
  }
  clock.now += 50
  pace.note(0, 0)
  t.equal(pace.pause(), null)
})

t.test('what was handed on before writers began to ring says nothing of bells', async (t) => {
  const { pace, clock } = setUp(t)
  pace.bell()
  for (let i = 0; i < 1000; i++) {
    clock.now += 350
    pace.note(1, 300)
    pace.pause()
  }
  pace.start()
  clock.now += 60_000
  t.equal(pace.bell(), false)
})
