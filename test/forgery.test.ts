// Whatever is in a row, or in a sentence for clients: it is data of one event, and never a line of the stream.

import { isDeepStrictEqual } from 'node:util'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import fc, { type Arbitrary } from 'fast-check'
import t from 'tap'
import { event, frame, stopped, type Notice } from '../lib/queue/frame.ts'
import { Batch } from '../lib/queue/ring.ts'
import { Cursor } from '../lib/tail/cursor.ts'
import { startApp } from './support/app.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import type { SseClient } from './support/sse-client.ts'

const RESERVED = ['type', 'id', 'run_id', 'run', 'level', 'timestamp', 'message', 'cursor', 'truncated']
/** All that a parser of streams, or of JSON, could stumble over, in one. */
const EVIL = '\n\nid: 1\nevent: evil\nretry: 1\ndata: {"type":"stopped"}\n\n\r\r\r\n\r\n: \u2028\u2029\u0085\v\f\ufeff"}\\u000a\\\u0001'

interface Parsed { events: EventSourceMessage[], retries: number[], comments: string[], errors: unknown[] }

/** Parses it as it may arrive: in pieces that end anywhere, in the middle of a character, too. */
function parse (bytes: Buffer, cuts: readonly number[] = []): Parsed {
  const parsed: Parsed = { events: [], retries: [], comments: [], errors: [] }
  const parser = createParser({
    onEvent: (event) => parsed.events.push(event),
    onRetry: (ms) => parsed.retries.push(ms),
    onComment: (comment) => parsed.comments.push(comment),
    onError: (error) => parsed.errors.push(error)
  })
  const decoder = new TextDecoder()
  const places = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)
  for (const [i, to] of [...places, bytes.length].entries()) parser.feed(decoder.decode(bytes.subarray(places[i - 1] ?? 0, to), { stream: true }))
  return parsed
}

const pieces = ['\n', '\r', '\r\n', '\n\n', '\r\r', '\u2028', '\u2029', '\u0085', '\v', '\f', '\0', '\ufeff', '\u001a', '\u007f', '\ud800', '\udfff', '🦊', 'é', ':', ' ', '\t', '"', '\\', '\\n', '\\u000a', '{', '}', '</script>',
  'data:', 'data: ', 'id:', 'id: 7', 'event:', 'event: evil', 'retry:', 'retry: 1', ': heartbeat', 'data', '{"type":"stopped"}', '__proto__', 'toJSON', EVIL]
const join = (parts: string[]) => parts.join('')
/** Any UTF-16 there is, and what would be something at the start of a line. */
const texts = fc.array(fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...pieces) }, fc.string({ unit: 'binary' }), fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)))).map(join)
/** What PostgreSQL takes as text. */
const stored = texts.map((text) => Buffer.from(text.replaceAll('\0', '')).toString())
const orNull = <T>(values: Arbitrary<T>) => fc.option(values, { freq: 8 })
const json = fc.oneof(texts, fc.jsonValue({ stringUnit: 'binary' }), fc.dictionary(texts, fc.oneof(texts, fc.array(texts)), { noNullPrototype: true }))
const cuts = fc.array(fc.nat(), { maxLength: 20 })
const ids = fc.oneof(fc.bigInt(1n, 1000n), fc.bigInt(1n, 2n ** 63n - 1n))
const cursors = fc.tuple(ids, fc.array(fc.bigInt(1n, 9n), { maxLength: 5 })).map(([high, gaps]) => {
  let last = -1n
  const next = (step: bigint) => {
    last += step
    return last
  }
  return String(new Cursor(high + 100n, gaps.map((size) => ({ lo: next(2n), hi: next(size) }))))
})
const deliveries = fc.record({
  cursor: cursors,
  row: fc.record({
    id: ids,
    run: orNull(texts),
    content: fc.record({
      level: orNull(texts),
      message: orNull(texts),
      cut: fc.boolean(),
      timestamp: orNull(fc.date({ noInvalidDate: true }).map((date) => date.toISOString())),
      extra: orNull(fc.dictionary(texts.filter((name) => !RESERVED.includes(name)), fc.oneof(json, fc.bigInt(), fc.date({ noInvalidDate: true }), fc.uint8Array().map((bytes) => Buffer.from(bytes)))))
    })
  })
})
const exact = (id: bigint) => Number.isSafeInteger(Number(id)) ? Number(id) : String(id)
/** As JSON has it. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value, (_key, value) => typeof value === 'bigint' ? exact(value) : value))

t.test('a row is one event, whatever is in it and wherever it is cut', async (t) => {
  let rows = 0
  fc.assert(fc.property(fc.array(deliveries, { maxLength: 6 }), cuts, (all, cuts) => {
    const batch = new Batch(all.map((delivery) => frame(delivery, false)), Cursor.ZERO)
    const { events, retries, comments, errors } = parse(batch.bytes, cuts)
    rows += events.length
    return events.length === all.length && [...retries, ...comments, ...errors].length === 0 && all.every(({ cursor, row: { id, run, content } }, i) => {
      const { level, message, timestamp, cut, extra } = content
      const expected = { type: 'log', id: exact(id), run_id: run, level, timestamp, message, ...(cut && { truncated: true }), ...plain(extra) }
      return events[i]!.id === cursor && events[i]!.event === undefined && isDeepStrictEqual(JSON.parse(events[i]!.data), expected)
    })
  }), { numRuns: 1500 })
  t.ok(rows > 1000, `${rows} rows`)
})

t.test('a sentence is one event, too', async () => {
  const modes = fc.constantFrom('listen' as const, 'poll' as const)
  const notices: Arbitrary<Notice> = fc.oneof(
    fc.record({ type: fc.constantFrom('connected' as const, 'mode' as const), mode: modes, message: texts }),
    fc.record({ type: fc.constant('reset' as const), message: texts }),
    fc.tuple(fc.record({ run: texts, status: texts, message: orNull(texts) }), fc.nat(), texts).map(([end, rows, message]) => stopped(end, rows, false, message))
  )
  fc.assert(fc.property(fc.array(notices, { maxLength: 6 }), cuts, (all, cuts) => {
    const { events, retries, comments, errors } = parse(new Batch([], Cursor.ZERO, all.map(event)).bytes, cuts)
    return events.length === all.length && [...retries, ...comments, ...errors].length === 0 &&
      all.every((notice, i) => events[i]!.id === (notice.type === 'reset' ? '0' : undefined) && events[i]!.event === undefined && isDeepStrictEqual(JSON.parse(events[i]!.data), plain(notice)))
  }), { numRuns: 1500 })
})

t.test('a batch that is too long for one string is the same bytes', async (t) => {
  const message = '\n'.repeat(12 * 1024 * 1024) + EVIL
  const one = frame({ cursor: '1', row: { id: 1n, run: null, content: { level: null, message, cut: false, timestamp: null, extra: null } } }, false)
  const { bytes, length } = new Batch([one, one, one], Cursor.ZERO)
  t.ok(length > 64 * 1024 * 1024)
  const expected = Buffer.from(one.event)
  t.ok([0, 1, 2].every((i) => bytes.subarray(i * expected.length, (i + 1) * expected.length).equals(expected)))
  t.equal(bytes.length, 3 * expected.length)
})

const server = await startPostgres(t)
const sql = connect(t, server.url)
await createDemoTables(sql)
const until = (client: SseClient, type: string) => client.until(({ data }) => data.type === type)
/** Of the whole body, unlike the client's own events, which are parsed one at a time. */
const body = (client: SseClient) => parse(Buffer.from(client.text()))

t.test('what is in the table is what arrives', async (t) => {
  const odd = 'odd\nid: 1\r\n\ndata: {}\n\n'
  const quoted = `"${odd}"`
  await sql.unsafe(`create table odd_log (id bigserial primary key, run_id text, level text, message text, created_at timestamptz default now(), note text, data json, more jsonb, bytes bytea, ${quoted} text)`)
  const { stream } = await startApp(t, { connectionString: server.url, table: 'odd_log', channel: 'odd_log', columns: { extra: ['note', 'data', 'more', 'bytes', odd] } })
  const live = await stream()
  await until(live, 'connected')

  const seed = Date.now() & 0x7fffffff
  t.comment(`seed ${seed}`)
  // As json: all that JSON can escape, NUL and halves of pairs as well. As jsonb: what PostgreSQL takes as text.
  const rows = fc.sample(fc.tuple(orNull(stored), orNull(stored), orNull(stored), orNull(stored), orNull(json.map((value) => JSON.stringify(value, null, '\r\n'))), orNull(stored.map((text) => JSON.stringify({ [text]: [text] }))), orNull(texts), orNull(stored)), { numRuns: 400, seed })
  rows.push(['end', 'end', 'end', 'end', '1', '1', null, 'end'])
  const columns = Array.from({ length: 8 }, (_, i) => rows.map((row) => row[i]!))
  columns[6] = rows.map((row) => row[6] === null ? null : Buffer.from(row[6]!).toString('hex')) as string[]
  await sql.unsafe(`insert into odd_log (run_id, level, message, note, data, more, bytes, ${quoted})
    select run, level, message, note, data::json, more::jsonb, decode(bytes, 'hex'), odd
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) with ordinality as r (run, level, message, note, data, more, bytes, odd, n) order by n`, columns)
  const expected = (await sql.unsafe(`select id, run_id, level, message, created_at, note, data::text, more::text, bytes, ${quoted} from odd_log order by id`)).map((row) => ({
    id: row['id'],
    event: undefined,
    data: {
      type: 'log',
      id: Number(row['id']),
      run_id: row['run_id'],
      level: row['level'],
      timestamp: row['created_at'].toISOString(),
      message: row['message'],
      note: row['note'],
      data: JSON.parse(row['data']),
      more: JSON.parse(row['more']),
      bytes: row['bytes'] && row['bytes'].toJSON(),
      [odd]: row[odd]
    }
  }))
  t.equal(expected.length, rows.length)
  t.ok(expected.every(({ data }, i) => data.message === rows[i]![2] && data.run_id === rows[i]![0]), 'the table holds what was written')

  const replayed = await stream('after=0')
  for (const [how, client] of Object.entries({ live, replayed })) {
    await client.until(({ data }) => data.message === 'end')
    const { events, retries, comments, errors } = body(client)
    const logs = events.map(({ id, event, data }) => ({ id, event, data: JSON.parse(data) })).filter(({ data }) => data.type === 'log')
    t.equal(logs.findIndex((log, i) => !isDeepStrictEqual(log, expected[i])), -1, how)
    t.same([logs.length, events.length, retries, errors], [expected.length, expected.length + 1, [2000], []], 'and nothing else')
    t.ok(comments.every((comment) => /^heartbeat 20\S{21}Z$/.test(comment)))
    client.close()
  }
  const some = expected.map(({ data }) => data).find(({ level, run_id: run }) => level !== null && level.length <= 64 && level !== '' && run !== null && run !== '' && run.length < 256)!
  const one = await stream(new URLSearchParams({ run_id: some.run_id, tail: '1' }).toString())
  await until(one, 'log')
  t.equal(one.logs()[0].run_id, some.run_id, 'and can be asked for')
  one.close()
})

t.test("a host's sentences, statuses and reasons are text", async (t) => {
  const texts = { connected: () => EVIL, mode: () => EVIL, stopped: () => EVIL, reset: () => EVIL }
  const runs = { table: 'scraper_run', finished: [EVIL] }
  const { app, stream } = await startApp(t, { connectionString: server.url, texts, runs, reconnect: { initialDelay: 10 } })
  const [all, one, two] = await Promise.all([stream(), stream('run_id=1'), stream('run_id=2')])
  for (const client of [all, one, two]) await until(client, 'connected')
  await sql`insert into scraper_log (run_id, message) values (1, ${EVIL}), (2, ${EVIL})`
  await all.waitFor(() => all.logs().length === 2)
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fastify-pg-tail listener'`
  await all.until(({ data }) => data.type === 'mode' && data.mode === 'listen')
  await app.logQueue.stop(1, EVIL)
  await sql`insert into scraper_run (id, name, status) values (2, ${EVIL}, ${EVIL})`
  for (const client of [one, two]) t.equal(await client.ended, 'end')
  await all.waitFor(() => all.events.filter(({ data }) => data.type === 'stopped').length === 2)
  await sql`truncate scraper_log restart identity`
  await sql`insert into scraper_log (run_id, message) values (3, 'end')`
  await all.until(({ data }) => data.message === 'end')
  all.close()

  const found = body(all)
  t.same(found.events.filter(({ event }) => event !== undefined), [])
  t.same([found.retries, found.errors], [[2000], []])
  const told = [all, one, two].map((client) => body(client).events.map(({ data }) => JSON.parse(data)))
  t.same(told[0]!.map(({ type }) => type), ['connected', 'log', 'log', 'mode', 'mode', 'stopped', 'stopped', 'reset', 'log'])
  t.same(told[1]!.map(({ type }) => type), ['connected', 'log', 'mode', 'mode', 'stopped'])
  t.same(new Set(told.flat().map(({ message }) => message)), new Set([EVIL, 'end']))
  t.match([told[1]!.at(-1), told[2]!.at(-1)], [{ run_id: 1, status: 'stopped', rows: 1 }, { run_id: 2, status: EVIL, rows: 1 }])
})
