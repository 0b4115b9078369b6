// What the tailer does between two reads, step by step, over a table that is made up.

import t from 'tap'
import type { Page } from '../lib/postgres/page-reader.ts'
import type { Reader } from '../lib/postgres/reader.ts'
import type { Source } from '../lib/postgres/source.ts'
import type { SourceRow } from '../lib/row.ts'
import type { Doorbell } from '../lib/tail/doorbell.ts'
import { Tailer } from '../lib/tail/tailer.ts'

const content = { level: null, cut: false, message: 'm', timestamp: null, extra: null }
const row = (id: number, run = 'a'): SourceRow => ({ id: BigInt(id), run, content })
const log = { warn () {}, debug () {}, info () {}, error () {} } as any

interface SetUp { onask?: () => Promise<void>, watches?: (run: string | null) => boolean, ondeliver?: () => void }

function setUp ({ onask = async () => {}, watches = () => true, ondeliver = () => {} }: SetUp = {}) {
  const table: SourceRow[] = []
  const delivered: bigint[] = []
  let onread = () => {}
  const source = {
    table: { name: 'x', oid: 1, sequence: 1 },
    async head () { return { high: 0n, lastValue: 0n, gaps: [], complete: true, future: [] } },
    async read (_sql: unknown, ranges: Array<{ lo: bigint, hi: bigint }>): Promise<Page> {
      const rows = table.filter(({ id }) => ranges.some(({ lo, hi }) => lo <= id && id <= hi))
      onread()
      return { rows, more: false, epoch: '1:1' }
    }
  }
  const sql = {
    unsafe: async () => {
      await onask()
      return [{ epoch: '1:1', last: '1000', readable: null, holders: ['3/1'] }]
    }
  }
  const reader = { answer: (ask: (sql: unknown) => unknown) => ask(sql) }
  const rests: boolean[] = []
  const notes: Array<[rows: number, spent: number]> = []
  const doorbell = {
    state: 'armed',
    start () {},
    stop () {},
    retry () {},
    note: (rows: number, spent: number) => { notes.push([rows, spent]) },
    rest: (inFlight: boolean) => { rests.push(inFlight) }
  }
  const tailer = new Tailer({
    order: 'arrival',
    log,
    afterRead () {},
    receiver: { watched: () => null, watches, deliver: (deliveries) => { delivered.push(...deliveries.map(({ row }) => row.id)); ondeliver() }, checkHealth () {}, reset () {} }
  })
  return {
    tailer,
    table,
    delivered,
    rests,
    notes,
    start: () => tailer.start(source as unknown as Source, reader as unknown as Reader, doorbell as unknown as Doorbell),
    /** Once, after the rows of the next read were taken from the table. */
    duringRead: (act: () => void) => { onread = () => { onread = () => {}; act() } }
  }
}

t.test('a bell during a read is followed by another read', async (t) => {
  const { tailer, table, delivered, start, duringRead } = setUp()
  await start()
  duringRead(() => {
    table.push(row(1))
    tailer.wake()
  })
  await tailer.refresh()
  await tailer.refresh()
  t.same(delivered, [1n])
})

t.test('so is a bell while the sequence is asked after a read', async (t) => {
  let act = () => {}
  let pause = Promise.resolve()
  const { tailer, table, delivered, rests, start } = setUp({
    onask: async () => {
      act()
      await pause
    }
  })
  await start()
  let go = () => {}
  pause = new Promise((resolve) => { go = resolve })
  const asked = new Promise<void>((resolve) => { act = resolve })
  tailer.wake()
  await asked
  table.push(row(1))
  tailer.wake()
  act = () => {}
  pause = Promise.resolve()
  const before = rests.length
  go()
  while (rests.length === before) await new Promise(setImmediate)
  t.same(delivered, [1n], 'and it comes to rest only then')
})

t.test('a row of a run that is watched since the read began is read again', async (t) => {
  let watched = false
  const { tailer, table, delivered, start, duringRead } = setUp({ watches: () => watched })
  await start()
  table.push({ ...row(1), content: null })
  duringRead(() => {
    watched = true
    table[0] = row(1)
  })
  await tailer.refresh()
  t.same(delivered, [1n])
})

t.test('stopped in the middle, nobody waits for ever', async (t) => {
  const { tailer, start, duringRead } = setUp()
  await start()
  duringRead(() => tailer.stop())
  await tailer.refresh()
  await tailer.moved()
  t.equal(tailer.watermark, null)
})

t.test('the doorbell is told how many rows came, and how long it took to hand them on', async (t) => {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const { tailer, table, notes, start, duringRead } = setUp({ ondeliver: () => { now += 40 } })
  await start()
  notes.length = 0
  duringRead(() => { now += 7 })
  table.push(row(1), row(2))
  await tailer.refresh()
  t.same(notes[0], [2, 40])
})
