// The contract over an SQLite file; where this Node has no node:sqlite, that this is said.

import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { contract, got, message, ready, type Row } from './contract/contract.ts'
import { startApp, statusCodeOf } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { Program } from './support/program.ts'

const name: string = 'node:sqlite'
const sqlite = await import(name).catch(() => null)
const folder = await mkdtemp(join(tmpdir(), 'fastify-pg-tail-sqlite-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
let files = 0

const TABLES = `
  create table scraper_run (id integer primary key, name text, status text default 'running');
  create table scraper_log (id integer primary key autoincrement, run_id integer, level text default 'INFO', message text, created_at text default current_timestamp);
  create index by_run on scraper_log (run_id, id)`

function create (t: Test, tables = TABLES, file = join(folder, `${++files}.db`)) {
  const db = new sqlite.DatabaseSync(file)
  t.teardown(() => db.close())
  db.exec(tables)
  return { file, db }
}

const SQLITE = (file: string) => ({ source: { sqlite: file }, table: 'scraper_log', install: undefined as never, pollInterval: 20 })
const POLLING = { state: 'polling' } as const

/** Holds the file locked most of the time. */
const WRITER = `
  const { DatabaseSync } = require('node:sqlite')
  const db = new DatabaseSync(process.argv[1])
  db.exec('pragma busy_timeout = 10000; pragma synchronous = off')
  const insert = db.prepare('insert into scraper_log (run_id, message) values (1, ?)')
  for (let i = 1; i <= 500;) {
    db.exec('begin exclusive')
    for (let n = 0; n < 5; n++) insert.run('row ' + i++)
    db.exec('commit')
  }`

if (sqlite === null) {
  t.test('this Node cannot read SQLite, and the start says so', async (t) => {
    await t.rejects(startApp(t, SQLITE('x.db')), { code: 'FST_PG_TAIL_OPTION', message: /Node 20.*comes with Node 22/ })
  })
} else {
  for (const journal of ['wal', 'delete']) {
    contract(`SQLite, ${journal}`, async (t) => {
      const { file, db } = create(t)
      db.exec(`pragma journal_mode = ${journal}; pragma busy_timeout = 5000`)
      const insert = db.prepare('insert into scraper_log (run_id, level, message) values (?, ?, ?)')
      const write = async (rows: Row[], end = 'commit') => {
        db.exec('begin immediate')
        for (const { run, level = 'INFO', message } of rows) insert.run(run, level, message)
        db.exec(end)
      }
      return {
        options: SQLITE(file),
        state: 'polling',
        write,
        takeBack: (rows) => write(rows, 'rollback'),
        finish: async (run) => db.prepare("insert into scraper_run (id, status) values (?, 'finished')").run(run),
        restart: async () => db.exec("delete from scraper_log; delete from sqlite_sequence where name = 'scraper_log'")
      }
    })
  }

  t.test('what cannot be tailed stops the start, and says what fixes it', async (t) => {
    const no = async (tables: string, options: object, message: RegExp) => {
      await t.rejects(startApp(t, { ...SQLITE(create(t, tables).file), ...options }), { code: 'FST_PG_TAIL_TABLE', message })
    }
    await no(TABLES, { table: 'nowhere' }, /nowhere .*does not exist/)
    await no(TABLES, { columns: { message: 'text' } }, /no column "text"\. Set the option columns\.message; its columns are id, run_id/)
    await no('create table scraper_log (id text primary key, run_id, level, message, created_at)', {}, /not the INTEGER PRIMARY KEY.*autoincrement/)
    await no('create table scraper_log (id integer primary key, run_id, level, message, created_at) without rowid', {}, /not the INTEGER PRIMARY KEY/)
    await no(TABLES, { runs: { table: 'runs', finished: ['x'] } }, /runs .*does not exist/)
  })

  t.test('the file comes later, is replaced, goes, and comes again', async (t) => {
    const file = join(folder, `${++files}.db`)
    const lines: string[] = []
    const failures = () => lines.filter((line) => line.includes('the file cannot be read')).length
    const { app, stream } = await startApp(t, SQLITE(file), { ...POLLING, server: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } } })
    const { notifyListener, logQueue } = app
    t.notOk(notifyListener.isReady())
    const client = await stream()
    await ready(client)
    const { db } = create(t, TABLES, file)
    await eventually(() => notifyListener.isReady())
    db.exec("insert into scraper_log (run_id, message) values (1, 'at last')")
    await message(client, 'at last')

    const other = create(t)
    other.db.exec("insert into scraper_log (run_id, message) values (1, 'a'), (1, 'b')")
    await rename(other.file, file)
    await message(client, 'b')
    t.same(client.events.map(({ data }) => data.type), ['connected', 'mode', 'log', 'reset', 'log', 'log'])
    t.match(client.events[0]!.data.message, /^The database cannot be read/)
    t.match(client.events[1]!.data.message, /polling every/, 'it can be read now')

    const before = failures()
    await rm(file)
    await eventually(() => failures() > before)
    t.notOk(notifyListener.isReady())
    t.match(notifyListener.status(), { connection_healthy: false, last_error: 'ENOENT; the log says more' })
    client.close()
    await eventually(() => logQueue.subscribers === 0)
    create(t, TABLES, file)
    t.ok(notifyListener.isReady(), 'it can be read again, though nobody does')
  })

  t.test('a file that stays locked: that is said, and no more once it is free', async (t) => {
    const { file, db } = create(t)
    const { app: { notifyListener }, stream } = await startApp(t, { ...SQLITE(file), timeout: 100 }, POLLING)
    t.match(notifyListener.status(), { connection_healthy: true, last_error: null })
    db.exec('begin exclusive')
    const client = await stream()
    await ready(client)
    t.notOk(notifyListener.isReady())
    t.match(notifyListener.status().last_error, /^database is locked/)
    db.exec('commit')
    await eventually(() => notifyListener.isReady())
    db.exec("insert into scraper_log (message) values ('at last')")
    await message(client, 'at last')
  })

  t.test('a writer in another process, which has the file locked most of the time', async (t) => {
    const { file } = create(t)
    const { stream } = await startApp(t, SQLITE(file), POLLING)
    const client = await stream()
    await ready(client)
    const writer = new Program(t, process.execPath, ['-e', WRITER, file], { cwd: folder })
    await message(client, 'row 5')
    const late = await stream('after=0')
    for (const each of [client, late]) await message(each, 'row 500')
    t.same(got(client), Array.from({ length: 500 }, (_, i) => `row ${i + 1}`))
    t.same(got(late), got(client))
    await eventually(() => writer.process.exitCode !== null)
  })

  t.test('ids that are given out again, and a table that is made anew', async (t) => {
    const { file, db } = create(t, TABLES.replace('autoincrement', ''))
    const { stream } = await startApp(t, SQLITE(file), POLLING)
    const client = await stream()
    await ready(client)
    db.exec("insert into scraper_log (message) values ('a'), ('b'), ('c')")
    await message(client, 'c')
    db.exec("delete from scraper_log where message = 'c'")
    await client.until(({ data }) => data.type === 'reset')
    db.exec("insert into scraper_log (message) values ('again')")
    await message(client, 'again')
    t.same(got(client), ['a', 'b', 'c', 'a', 'b', 'again'])
    db.exec('drop table scraper_log; create table Scraper_Log (created_at text, run_id text, message text, level text, id integer primary key)')
    await client.waitFor(() => client.events.filter(({ data }) => data.type === 'reset').length === 2)
    db.exec("insert into scraper_log (run_id, message) values (7, 'anew')")
    await message(client, 'anew')
    t.match(client.logs().at(-1), { id: 1, run_id: '7' })
  })

  t.test('columns without a type, and statuses that are numbers', async (t) => {
    const { file, db } = create(t, `
      create table scraper_run (id, status integer);
      create table scraper_log (id integer primary key autoincrement, run_id, level, message, created_at);
      insert into scraper_log (run_id, level, message) values (7, 3, 'a'), ('7', '3', 'b'), (8, 3, 'c'), (7, 4, 'd')`)
    const { stream } = await startApp(t, { ...SQLITE(file), table: 'SCRAPER_LOG', runs: { table: 'scraper_run', finished: ['2'] } }, POLLING)
    const client = await stream('run_id=7&level=3&tail=10')
    await message(client, 'b')
    db.exec('insert into scraper_run values (7, 2)')
    t.equal(await client.ended, 'end')
    t.same(got(client), ['a', 'b'])
    t.match(client.events.at(-1)!.data, { type: 'stopped', run_id: '7', status: '2', rows: 3 })
    t.equal(await statusCodeOf(() => stream('run_id=7', { lastEventId: '4' })), 204)
    const lacks = await stream('run_id=7', { lastEventId: '1' })
    t.equal(await lacks.ended, 'end')
    t.same(got(lacks), ['b', 'd'])
  })

  t.test('all else has its turn between two pages of a replay, and a search goes on in steps', async (t) => {
    const { file, db } = create(t)
    db.exec('with recursive n (i) as (select 1 union all select i + 1 from n where i < 12000) insert into scraper_log (run_id, message) select 1, i from n')
    const { app: { logQueue } } = await startApp(t, SQLITE(file), POLLING)
    let turns = 0
    let spinning = true
    const spin = () => {
      turns++
      if (spinning) setImmediate(spin)
    }
    spin()
    const at: number[] = []
    for await (const row of logQueue.subscribe({ after: '0' })) {
      at.push(turns)
      if (row.id === 2500) break
    }
    spinning = false
    for (const row of [1000, 2000]) t.ok(at[row]! > at[row - 1]!, `after row ${row}`)

    const stop = new AbortController()
    const before = logQueue.counters.replays
    logQueue.subscribe({ after: '0', level: 'NONE', signal: stop.signal })
    await eventually(() => logQueue.counters.replays >= before + 3)
    stop.abort()
  })

  t.test('nobody watches: nothing is read', async (t) => {
    const { app, stream } = await startApp(t, SQLITE(create(t).file), POLLING)
    const watermark = async () => (await app.inject('/logs/status')).json().watermark
    const client = await stream()
    await ready(client)
    t.equal(await watermark(), '0')
    client.close()
    await eventually(watermark, (watermark) => watermark === null)
    app.logQueue.subscribe({ signal: AbortSignal.abort() })
    await turn()
    t.equal(await watermark(), null)
  })

  t.test('text with NUL in it, and large rows a few at a time', async (t) => {
    const { file, db } = create(t)
    const insert = db.prepare('insert into scraper_log (run_id, message) values (1, ?)')
    const texts = ['a\0b', ...Array.from({ length: 40 }, (_, i) => String(i).repeat(50_000)), 'last']
    for (const text of texts) insert.run(text)
    const { app, stream } = await startApp(t, SQLITE(file), POLLING)
    const client = await stream('after=0')
    await message(client, 'last')
    t.same(got(client), texts)
    t.ok(app.logQueue.counters.replays >= 8, '256 KiB a page')
  })

  t.test('times, as SQLite may have them', async (t) => {
    const { file, db } = create(t)
    const insert = db.prepare('insert into scraper_log (run_id, message, created_at) values (1, ?, ?)')
    for (const [i, time] of ['2026-01-21 10:00:00', '2026-01-21T10:00:00.5+01:00', '2026-01-21', 'soon', null, 1768989600, 1768989600123].entries()) insert.run(`${i}`, time)
    const { stream } = await startApp(t, SQLITE(file), POLLING)
    const client = await stream('after=0')
    await client.until(({ data }) => data.message === '6')
    t.same(client.logs().map(({ timestamp }) => timestamp), ['2026-01-21T10:00:00.000Z', '2026-01-21T09:00:00.500Z', '2026-01-21T00:00:00.000Z', null, null,
      '2026-01-21T10:00:00.000Z', '2026-01-21T10:00:00.123Z'])
  })
}
