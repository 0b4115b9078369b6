// The contract over an SQLite file; where this Node has no node:sqlite, that this is said.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { contract, type Row } from './contract/contract.ts'
import { startApp } from './support/app.ts'

const name: string = 'node:sqlite'
const sqlite = await import(name).catch(() => null)
const folder = await mkdtemp(join(tmpdir(), 'fastify-pg-tail-sqlite-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
let files = 0

const TABLES = `
  create table scraper_run (id integer primary key, name text, status text default 'running');
  create table scraper_log (id integer primary key autoincrement, run_id integer, level text default 'INFO', message text, created_at text default current_timestamp);
  create index by_run on scraper_log (run_id, id)`

function create (t: Test, tables = TABLES) {
  const file = join(folder, `${++files}.db`)
  const db = new sqlite.DatabaseSync(file)
  t.teardown(() => db.close())
  db.exec(tables)
  return { file, db }
}

const SQLITE = (file: string) => ({ source: { sqlite: file }, table: 'scraper_log', install: undefined as never, pollInterval: 20 })

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

  t.test('what cannot be tailed stops the start, and says what mends it', async (t) => {
    const no = async (tables: string, options: object, message: RegExp) => {
      await t.rejects(startApp(t, { ...SQLITE(create(t, tables).file), ...options }), { code: 'FST_PG_TAIL_TABLE', message })
    }
    await no(TABLES, { table: 'nowhere' }, /nowhere .*does not exist/)
    await no(TABLES, { columns: { message: 'text' } }, /no column "text"\. Set the option columns\.message; its columns are id, run_id/)
    await no('create table scraper_log (id text primary key, run_id, level, message, created_at)', {}, /not the INTEGER PRIMARY KEY.*autoincrement/)
    await no(TABLES, { runs: { table: 'runs', finished: ['x'] } }, /runs .*does not exist/)
  })

  t.test('the file comes later, and goes', async (t) => {
    const { app, stream } = await startApp(t, SQLITE(join(folder, `${files + 1}.db`)), { state: 'polling' })
    t.notOk(app.notifyListener.isReady())
    const client = await stream()
    await client.until(({ data }) => data.type === 'connected')
    const { db } = create(t)
    while (!app.notifyListener.isReady()) await new Promise(setImmediate)
    db.exec("insert into scraper_log (run_id, message) values (1, 'at last')")
    await client.until(({ data }) => data.message === 'at last')
    t.pass()
  })

  t.test('times, as SQLite may have them', async (t) => {
    const { file, db } = create(t)
    const insert = db.prepare('insert into scraper_log (run_id, message, created_at) values (1, ?, ?)')
    for (const [i, time] of ['2026-01-21 10:00:00', '2026-01-21T10:00:00.5+01:00', '2026-01-21', 'soon', null, 1768989600, 1768989600123].entries()) insert.run(`${i}`, time)
    const { stream } = await startApp(t, SQLITE(file), { state: 'polling' })
    const client = await stream('after=0')
    await client.until(({ data }) => data.message === '6')
    t.same(client.logs().map(({ timestamp }) => timestamp), ['2026-01-21T10:00:00.000Z', '2026-01-21T09:00:00.500Z', '2026-01-21T00:00:00.000Z', null, null,
      '2026-01-21T10:00:00.000Z', '2026-01-21T10:00:00.123Z'])
  })
}
