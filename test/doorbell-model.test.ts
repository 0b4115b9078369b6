// Falling asleep and being woken, in every order in which writers, sessions and nodes can take their steps. What a step stands
// for is said in test/support/doorbell/model.ts.

import t, { type Test } from 'tap'
import { Double, type Timer } from './support/doorbell/double.ts'
import { explore, type Exploration } from './support/doorbell/explore.ts'
import { DoorbellModel } from './support/doorbell/model.ts'
import { EVERYTHING, LOST, type Mistake, type Setup } from './support/doorbell/node.ts'

const TWO = 'looks: so does another one'
const WRITING = ['locks the table, writes a row', 'looks: nobody sleeps', 'looks: somebody sleeps', TWO,
  'lets go of the lock it tried', 'commits', 'commits and rings', 'rolls back', 'lets go of its locks']
const ARMING = ['starts', 'gets the lock', 'has tried in vain', 'tries again', 'hears that it has the lock', 'has looked: nobody writes',
  'has looked: somebody writes', 'has looked: somebody is left', 'has looked: they are over', 'has read', 'hears a bell', 'is woken by its timer']
const HOT = ['hears a bell too many', 'has read, and it has been quiet', 'lets go of the lock', 'hears too late that it has the lock',
  'has tried in vain, too late']
const FAULTS = ['stops', 'cannot read', 'cannot look', 'cannot try', 'loses its session', 'sees that its session is lost', 'has a session',
  'misses the trigger', 'finds the trigger']

function search (t: Test, setup: Setup): Exploration {
  const found = explore(new DoorbellModel(setup))
  t.comment(`${found.states} states, ${found.steps} steps`)
  return found
}

/** Nothing is wrong in any state, there were at least so many, and every step was taken. */
function right (t: Test, setup: Setup, atLeast: number, steps: string[]): void {
  const { states, taken, wrong, trace } = search(t, setup)
  t.equal(wrong, null, 'nothing is wrong', { trace })
  t.ok(states >= atLeast, 'all was looked at', { states })
  t.same([...taken].sort(), steps.sort())
}

t.test('two nodes fall asleep among three writers: no row is left to a sleeper that nothing wakes', async (t) => {
  right(t, { nodes: 2, writers: 3 }, 500_000, [...WRITING, ...ARMING])
})

t.test('nor where bells keep them awake, or they stop, and they fall asleep again', async (t) => {
  right(t, { nodes: 2, writers: 1, hot: true, stops: true, ops: 2 }, 200_000, [...WRITING, ...ARMING, ...HOT, 'stops'].filter((step) => step !== TWO))
})

t.test('nor where everything fails that can, next to any number of other nodes', async (t) => {
  right(t, { nodes: 1, writers: 3, ...EVERYTHING }, 100_000,
    [...WRITING, 'looks: somebody sleeps elsewhere', 'writes another row', ...ARMING, ...HOT, ...FAULTS])
})

t.test('where nobody sleeps nobody rings, but for two who look at once', async (t) => {
  const alone = ['locks the table, writes a row', 'looks: nobody sleeps', 'lets go of the lock it tried', 'writes another row', 'commits', 'rolls back', 'lets go of its locks']
  right(t, { nodes: 0, writers: 1, statements: true }, 5, alone)
  right(t, { nodes: 0, writers: 3, statements: true }, 50, [...alone, TWO, 'commits and rings'])
})

const MISTAKES: Array<[mistake: Mistake, wrong: string, more?: Partial<Setup>]> = [
  ['looks, then locks', LOST],
  ['does not look', LOST],
  ['reads, then looks', LOST],
  ['no last read', LOST],
  ['clears again late', LOST],
  ['trigger looks first', LOST],
  ['LISTENs late', LOST],
  ['shows rows last', LOST],
  ['sleeps without the lock', 'it sleeps without the lock'],
  ['takes an old look', 'it sleeps without the lock', { hot: true }],
  ['keeps what comes late', 'it has the lock, and does not need it', { hot: true }]
]

for (const [mistake, expected, more] of MISTAKES) {
  t.test(`another protocol is found out: ${mistake}`, async (t) => {
    const { wrong, trace } = search(t, { nodes: 2, writers: 2, ...more, mistake })
    for (const line of trace) t.comment(line)
    t.equal(wrong, expected, 'found', { trace })
  })
}

// A model is worth as much as it has of the code.
t.test('the code does what the model can do', async (t) => {
  let double: Double
  t.intercept(performance, 'now', { value: () => double.now })
  t.intercept(globalThis, 'setTimeout', { value: (act: () => void, milliseconds: number) => double.setTimer(act, milliseconds) })
  t.intercept(globalThis, 'clearTimeout', { value: (timer: Timer) => double.timers.delete(timer) })
  const told = new Set<string>()
  let steps = 0
  for (let seed = 1; seed <= 80; seed++) {
    let state = seed
    // A linear congruential generator: the same steps each time.
    double = new Double(() => {
      state = Math.imul(state, 1664525) + 1013904223 >>> 0
      return state / 2 ** 32
    })
    let more: string | boolean = true
    for (let i = 0; i < 150 && more === true; i++, steps++) more = await double.step()
    if (typeof more === 'string') return t.fail(more, { seed, told: double.told })
    for (const line of double.told) told.add(line)
  }
  t.comment(`${steps} steps`)
  for (const step of [...ARMING, ...HOT, ...FAULTS]) t.ok([...told].some((line) => line.includes(step)), step)
})
