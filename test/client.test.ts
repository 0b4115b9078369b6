// The parts of the browser's client that need no browser: its parser against one that is not ours, its cursors against the server's,
// what may be taken of whom, turns and pauses.
import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import t from 'tap'
import { Cursor } from '../client/cursor.ts'
import { EventParser, type StreamEvent } from '../client/event-parser.ts'
import type { Row, Stopped } from '../client/messages.ts'
import { judge, pauseAfter } from '../client/outcome.ts'
import { Progress } from '../client/progress.ts'
import { Recent } from '../client/recent.ts'
import { Slot } from '../client/slot.ts'
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
  t.notOk(parser.partial)
  parser.feed('data: ')
  let early = 0
  for (let i = 0; i < 4096; i++) early += parser.feed(part).length
  t.equal(early, 0)
  t.ok(parser.partial)
  t.equal(parser.feed('\n').length, 0)
  t.ok(parser.partial)
  t.equal(parser.feed('\n')[0]?.data?.length, 4096 * 4096)
  t.notOk(parser.partial)
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
    const mine = new Progress()
    mine.take([], Cursor.ZERO, [])
    const shown: Array<string | number> = []
    const take = (cursor: Cursor, ids: bigint[]) => {
      for (const { id } of mine.take(ids.map((id) => row(id)), cursor, [])?.rows ?? []) shown.push(id)
    }
    for (let step = 0; step < 300; step++) {
      const by = dice.next().value % streams.length
      const stream = streams[by]!
      // A node that lags, or one that repeats itself after a restart.
      if (dice.next().value % 10 === 0) stream.next = Math.max(0, stream.next - dice.next().value % 4)
      const statement = stream.statements[stream.next++ % 30]!
      const life = `life ${by % 2}`
      if (mine.accepts(life, statement.base, statement.cursor)) {
        mine.life = life
        take(statement.cursor, [statement.id])
      }
      // A request of one's own: the server sends what one lacks.
      if (dice.next().value % 20 === 0) {
        const target = statement.cursor
        take(target, IDS.filter((id) => target.has(id) && !mine.cursor!.has(id)))
      }
    }
    take(Cursor.parse('30')!, IDS.slice(1).filter((id) => !mine.cursor!.has(id)))
    return shown.length === 30 && new Set(shown).size === 30 && String(mine.cursor) === '30'
  }), { numRuns: 300 })
})

t.test('what may be another table\'s word is not taken', async (t) => {
  const at = (text: string) => Cursor.parse(text)!
  const stop: Stopped = { type: 'stopped', run_id: 7, status: 'finished', rows: 1, message: 'over' }
  const mine = new Progress()
  t.notOk(mine.accepts('a', Cursor.ZERO, at('5')), 'where it starts is not known yet')
  t.match(mine.take([row(10)], at('10'), [stop]), { base: at('10'), rows: [{ id: 10 }], stopped: [stop] })
  t.equal(mine.take([row(10)], at('9'), [stop]), null, 'nothing of that is new')
  t.notOk(mine.accepts('a', Cursor.ZERO, at('9')), 'an unknown life that has less')
  t.notOk(mine.accepts('a', at('11'), at('12')), 'a base that is not here')
  t.ok(mine.accepts('a', at('8'), at('12')))
  mine.life = 'a'
  t.ok(mine.accepts('a', at('8'), at('9')), 'of a known life it may have less')
  mine.reset('b')
  t.equal(String(mine.cursor), '0')
  t.notOk(mine.accepts('a', Cursor.ZERO, at('12')), 'a life that is over')
  t.ok(mine.accepts('b', Cursor.ZERO, at('3')))
  t.match(mine.take([row(1)], at('1'), [stop]), { rows: [{ id: 1 }], stopped: [stop] }, 'the same run of another table')
})

t.test('what came last is told to whoever has what was before, and to nobody else', async (t) => {
  const recent = new Recent(Cursor.parse('10')!)
  recent.push(Cursor.parse('12')!, [row(11), row(12)], [])
  recent.push(Cursor.parse('20')!, [], [])
  t.equal(recent.since(Cursor.parse('9')!), null)
  t.equal(recent.since(Cursor.parse('12~10')!), null)
  t.match(recent.since(Cursor.parse('11')!), { base: '10', cursor: '20', rows: [{ id: 12 }] })
  for (let id = 21; id < 400; id++) recent.push(Cursor.parse(String(id))!, [row(id)], [])
  t.equal(recent.since(Cursor.parse('20')!), null, 'it remembers so much and no more')
  t.equal(recent.since(Cursor.parse('300')!)!.rows.length, 99)
  for (let id = 400; id < 410; id++) recent.push(Cursor.parse(String(id))!, [row(id, 'x'.repeat(300_000))], [])
  t.equal(recent.since(Cursor.parse('405')!), null, 'long ones are fewer')
  t.equal(recent.since(Cursor.parse('406')!)!.rows.length, 3)
})

t.test('a turn begins with something new, and is longer for whoever is looked at', async (t) => {
  const slot = new Slot(() => {}, 0)
  t.notOk(slot.isOver(true, false, 9999), 'nothing has come yet')
  t.ok(slot.isOver(true, false, 10_000), 'nothing comes')
  slot.receive(9000)
  t.notOk(slot.isOver(true, false, 10_999), 'an event is on its way')
  t.ok(slot.isOver(true, false, 11_000), 'it does not go on')
  slot.advance(12_000)
  slot.advance(13_000)
  for (const [hidden, theirs, turn] of [[true, false, 1000], [true, true, 1000], [false, false, 3000], [false, true, 30_000]] as const) {
    t.same([turn - 1, turn].map((time) => slot.isOver(hidden, theirs, 12_000 + time)), [false, true])
  }
})

t.test('pauses have a floor and a ceiling, and are not shorter than asked for', async (t) => {
  const hour = 3_600_000
  for (const [args, least, most] of [
    [[0], 100, 150],
    [[2000], 2000, 3000],
    [[2000, 3], 16_000, 24_000],
    [[2000, 5000], 30_000, 45_000],
    [[60_000, 5], 60_000, 90_000],
    [[20, 0, 5000], 5000, 7500],
    [[1e9], hour, hour],
    [[20, 0, 2 ** 40], hour, hour]
  ] as Array<[[number, number?, number?], number, number]>) {
    const pauses = Array.from({ length: 50 }, () => pauseAfter(...args))
    t.ok(pauses.every((pause) => pause >= least && pause <= most), `after ${args}`, { pauses })
  }
})

t.test('what an answer means that is no stream', async (t) => {
  const answer = (status: number, body: string | null = null, headers = {}) => judge(new Response(body, { status, headers }))
  t.same(await answer(204), { kind: 'over' })
  t.same(await answer(403, '{"message":"you may not"}'), { kind: 'refused', message: 'you may not' })
  t.same(await answer(502, '<h1>!'), { kind: 'failed', message: 'The server answered 502', retryAfter: 0 })
  t.match(await answer(503, '', { 'retry-after': '7' }), { kind: 'failed', retryAfter: 7000 })
  const later = await answer(429, '', { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() })
  t.ok(later.kind === 'failed' && later.retryAfter > 0 && later.retryAfter <= 3_600_000, 'a date')
  for (const wrong of ['-1', 'soon', 'Thu, 01 Jan 1970 00:00:00 GMT']) t.match(await answer(503, '', { 'retry-after': wrong }), { retryAfter: 0 }, wrong)
})

function row (id: number | bigint, message: string | null = null): Row {
  return { type: 'log', id: Number(id), run_id: 1, level: null, timestamp: null, message }
}

function only (id: bigint): Cursor {
  return Cursor.parse(id === 1n ? '1~0' : `${id}~0-${id - 1n}`)!
}
