import fc from 'fast-check'
import t from 'tap'
import { HolderSet } from '../lib/tail/holders.ts'

t.test('who lets go leaves; nobody enters', async (t) => {
  const set = new HolderSet(['3/1', '4/1', '5/1'])
  t.notOk(set.empty)
  set.narrow(['4/1', '5/1', '6/1'])
  t.same([...set], ['4/1', '5/1'])
  set.narrow(['3/1', '5/1', '6/1'])
  t.same([...set], ['5/1'], 'who left does not come back')
  set.narrow(['6/1', '5/2'])
  t.ok(set.empty, 'the next transaction of a session is another')
  t.ok(new HolderSet([]).empty)
})

t.test('who prepares is followed by its stand-in', async (t) => {
  const set = new HolderSet(['3/17'])
  set.narrow(['-1/99'])
  t.same([...set], ['-1/99'])
  set.narrow(['-1/99', '-1/100'])
  t.same([...set], ['-1/99'], 'nobody left')
  set.narrow(['-1/100'])
  t.ok(set.empty)
})

t.test('stand-ins that were there before are strangers', async (t) => {
  const set = new HolderSet(['3/17', '-1/98'])
  set.narrow(['3/17', '-1/97'])
  t.same([...set], ['3/17'], 'a stand-in that leaves brings nobody in')
  set.narrow(['3/17', '-1/97'])
  set.narrow(['-1/97'])
  t.ok(set.empty)
})

t.test('one look may see somebody by both names', async (t) => {
  const set = new HolderSet(['3/17'])
  set.narrow(['3/17', '-1/99'])
  set.narrow(['-1/99'])
  t.same([...set], ['-1/99'])
  set.narrow([])
  t.ok(set.empty)
})

t.test('it is never empty while somebody who was noted is there, and runs empty when all have gone', async () => {
  const people = 6
  const steps = fc.array(fc.record({ of: fc.nat(people - 1), do: fc.constantFrom('prepare', 'end', 'look') }), { maxLength: 40 })
  fc.assert(fc.property(fc.array(fc.boolean(), { minLength: people, maxLength: people }), steps, (noted, steps) => {
    const names = new Map(noted.flatMap((there, i) => there ? [[i, `3/${i}`]] : []))
    const set = new HolderSet([...names.values()])
    const strangers = new Map(noted.flatMap((there, i) => there ? [] : [[i, `4/${i}`]]))
    for (const step of steps) {
      const all = names.has(step.of) ? names : strangers
      if (step.do === 'end') all.delete(step.of)
      else if (step.do === 'prepare' && all.has(step.of)) all.set(step.of, `-1/${step.of}`)
      else set.narrow([...names.values(), ...strangers.values()])
      if (names.size > 0 && set.empty) return false
    }
    set.narrow([...strangers.values()])
    set.narrow([])
    return set.empty
  }), { numRuns: 2000 })
})
