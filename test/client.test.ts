// The parts of the browser's client that need no browser: its parser against one that is not ours, its cursors against the server's.
import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import t from 'tap'
import { Cursor } from '../client/cursor.ts'
import { EventParser, type StreamEvent } from '../client/event-parser.ts'
import type { Row } from '../client/messages.ts'
import { Recent } from '../client/recent.ts'
import { Cursor as ServerCursor } from '../lib/tail/cursor.ts'

/** What comes of a text that arrives in these pieces. */
function parse (text: string, cuts: readonly number[] = []): StreamEvent[] {
  const parser = new EventParser()
  const ends = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].sort((a, b) => a - b)
  return [...ends, text.length].flatMap((end, index) => parser.feed(text.slice(ends[index - 1] ?? 0, end)))
}

t.test('the parser gives events with data, and blocks that have only an id', async (t) => {
  t.same(parse('retry: 2000\n\ndata: {"a":1}\n\nid: 7\ndata: x\n\n: heartbeat\nid: 9\n\ndata: no end'), [
    { retry: 2000 }, { data: '{"a":1}' }, { id: '7', data: 'x' }, { id: '9' }
  ])
  t.same(parse('data: a\r\ndata:b\rdata\n\r\nid:\0\nid: 1\r\n\r\nevent: x\ndata:  y\n\n: nothing\n\n'), [
    { data: 'a\nb\n' }, { id: '1' }, { data: ' y' }
  ])
  // Wherever it is cut, also between the two halves of a line break.
  const pieces = fc.array(fc.constantFrom('data: x', 'data:{"y":"ä🥭"}', 'id: 12~3', ': c', 'event: e', 'retry: 5', '\n', '\r\n', '\n\n', '\r', 'id', 'other: 1'), { maxLength: 40 }).map((parts) => parts.join(''))
  fc.assert(fc.property(pieces, fc.array(fc.nat(400), { maxLength: 8 }), (text, cuts) => {
    return JSON.stringify(parse(text, cuts)) === JSON.stringify(parse(text))
  }), { numRuns: 5000 })
  // The events that have data are those of another parser. That one gives an event type of its own, and no event without data.
  fc.assert(fc.property(pieces.map((text) => text.replaceAll('event: e', '')), fc.array(fc.nat(400), { maxLength: 8 }), (text, cuts) => {
    const theirs: unknown[] = []
    const parser = createParser({ onEvent: ({ data, id }) => { theirs.push([data, id ?? null]) } })
    parser.feed(text + '\n\n')
    const ours = parse(text + '\n\n', cuts).filter(({ data }) => data !== undefined).map(({ data, id }) => [data, id ?? null])
    return JSON.stringify(ours) === JSON.stringify(theirs)
  }), { numRuns: 3000 })
})

t.test('a message of megabytes that comes bit by bit is put together', async (t) => {
  const parser = new EventParser()
  const part = 'x'.repeat(4096)
  parser.feed('data: ')
  let early = 0
  for (let i = 0; i < 4096; i++) early += parser.feed(part).length
  t.equal(early, 0)
  t.equal(parser.feed('\n\n')[0]?.data?.length, 4096 * 4096)
})

const IDS = Array.from({ length: 31 }, (_, id) => BigInt(id))
/** A cursor with ids up to 30, as the server writes it. */
const texts = fc.tuple(fc.nat(30), fc.array(fc.nat(30), { maxLength: 12 })).map(([high, missing]) => {
  const had = IDS.filter((id) => id <= high && !missing.includes(Number(id)))
  let cursor = new ServerCursor(-1n)
  for (const id of had) cursor = cursor.union(new ServerCursor(id, id === 0n ? [] : [{ lo: 0n, hi: id - 1n }]))
  return String(cursor)
})
const server = (text: string) => text === '-1' ? new ServerCursor(-1n) : ServerCursor.parse(text)

t.test('its cursors are those of the server', async (t) => {
  fc.assert(fc.property(texts, texts, (a, b) => {
    const [x, y] = [Cursor.parse(a)!, Cursor.parse(b)!]
    const [p, q] = [server(a), server(b)]
    return String(x) === a &&
      IDS.every((id) => x.has(id) === p.has(id)) &&
      x.covers(y) === p.covers(q) &&
      String(x.union(y)) === String(p.union(q))
  }), { numRuns: 10_000 })
  for (const text of ['', 'x', '1~', '1~2-', '~1', '1,2', '1~2~3', '1.5', ' 1']) t.equal(Cursor.parse(text), null, text)
  t.equal(String(Cursor.parse('9223372036854775807~5-7')), '9223372036854775807~5-7')
})

t.test('a cursor of very many gaps claims less, and fits into a header', async (t) => {
  const gaps = Array.from({ length: 500 }, (_, i) => 2n ** 60n + BigInt(i) * 2n)
  const cursor = Cursor.parse(`${2n ** 61n}~${gaps.join()}`)!
  const short = cursor.forHeader()
  t.ok(short.length < 4000)
  t.ok(cursor.covers(Cursor.parse(short)!), 'nothing that it has not')
  t.doesNotThrow(() => ServerCursor.parse(short))
})

// Tabs by algebra: a table of ids, streams that begin and end anywhere and deliver in any order, and one who listens to all of them.
t.test('whoever takes statements of which it has the base, lacks nothing and has nothing twice', async () => {
  const order = fc.shuffledSubarray(IDS.slice(1), { minLength: 30, maxLength: 30 })
  const plan = fc.array(fc.record({ order, from: fc.nat(29), ask: fc.nat(3) }), { minLength: 1, maxLength: 5 })
  fc.assert(fc.property(plan, fc.infiniteStream(fc.nat(1000)), (nodes, dice) => {
    // Each node commits all rows in an order of its own, and remembers its statements.
    const streams = nodes.map(({ order, from }) => {
      let cursor = Cursor.ZERO
      const statements = order.map((id) => {
        const base = cursor
        cursor = cursor.union(only(id))
        return { base, cursor, id }
      })
      return { statements, from, next: 0 }
    })
    let mine = Cursor.ZERO
    const shown: bigint[] = []
    const take = (base: Cursor, cursor: Cursor, ids: bigint[]) => {
      if (!mine.covers(base)) return
      shown.push(...ids.filter((id) => !mine.has(id)))
      mine = mine.union(cursor)
    }
    for (let step = 0; step < 300; step++) {
      const stream = streams[dice.next().value % streams.length]!
      // A node that lags, or one that repeats itself after a restart.
      if (dice.next().value % 10 === 0) stream.next = Math.max(0, stream.next - dice.next().value % 4)
      const statement = stream.statements[stream.next++ % 30]!
      take(statement.base, statement.cursor, [statement.id])
      // A request of one's own: the server sends what one lacks.
      if (dice.next().value % 20 === 0) {
        const had = mine
        const target = statement.cursor
        take(had, target, IDS.filter((id) => target.has(id) && !had.has(id)))
      }
    }
    take(mine, Cursor.parse('30')!, IDS.slice(1).filter((id) => !mine.has(id)))
    return shown.length === 30 && new Set(shown).size === 30 && String(mine) === '30'
  }), { numRuns: 300 })
})

t.test('what came last is told to whoever has what was before, and to nobody else', async (t) => {
  const row = (id: number): Row => ({ type: 'log', id, run_id: 1, level: null, timestamp: null, message: null })
  const recent = new Recent(Cursor.parse('10')!)
  recent.push(Cursor.parse('12')!, [row(11), row(12)], [])
  recent.push(Cursor.parse('20')!, [], [])
  t.equal(recent.since(Cursor.parse('9')!), null)
  t.equal(recent.since(Cursor.parse('12~10')!), null)
  t.match(recent.since(Cursor.parse('11')!), { base: '10', cursor: '20', rows: [{ id: 12 }] })
  for (let id = 21; id < 400; id++) recent.push(Cursor.parse(String(id))!, [row(id)], [])
  t.equal(recent.since(Cursor.parse('20')!), null, 'it remembers so much and no more')
  t.equal(recent.since(Cursor.parse('300')!)!.rows.length, 99)
})

function only (id: bigint): Cursor {
  return Cursor.parse(id === 1n ? '1~0' : `${id}~0-${id - 1n}`)!
}
