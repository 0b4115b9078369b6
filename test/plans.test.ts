// How PostgreSQL goes about a read: with a plan that it keeps, as long as that is a good one.

import type { Sql } from 'postgres'
import t from 'tap'
import { addArrayTypes } from '../lib/postgres/arrays.ts'
import { MARK } from '../lib/postgres/query.ts'
import { Source } from '../lib/postgres/source.ts'
import { inspectTable } from '../lib/postgres/table.ts'
import { MAX_ID } from '../lib/tail/cursor.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'

/** PostgreSQL makes as many plans for the values at hand before it considers to keep one. */
const FIRST = 5

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 1 })
addArrayTypes(sql)
await createDemoTables(sql)
await sql`alter table scraper_log set (autovacuum_enabled = false)`
const table = { ...await inspectTable(sql, 'public.scraper_log', { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] }), runs: null }

const after = (id: bigint) => [{ lo: id + 1n, hi: MAX_ID }]

async function write (rows: number): Promise<bigint> {
  await sql`insert into scraper_log (run_id, message) select 1, 'x' from generate_series(1, ${rows}::int)`
  const [last] = await sql`select max(id)::text as id from scraper_log`
  return BigInt(last!.id)
}

/** Reads one row at a time, as where it is quiet. */
async function readSeldom (source: Source, watched: string[] | null): Promise<void> {
  for (let i = 0; i < 2 * FIRST; i++) await source.read(sql, after(await write(1) - 1n), watched)
}

interface Prepared { name: string, kept: number, made: number }

/** The reads that this session knows. */
async function reads (sql: Sql): Promise<Prepared[]> {
  return sql`select name, generic_plans::int as kept, custom_plans::int as made from pg_prepared_statements
    where starts_with(statement, ${MARK}) and statement like '%id_text%' order by prepare_time`
}

t.test('a read of some runs keeps its plan, one of many is planned for them', async (t) => {
  const source = new Source(table)
  await readSeldom(source, null)
  await readSeldom(source, ['1', '2'])
  for (const { kept, made } of await reads(sql)) {
    t.equal(made, FIRST)
    t.equal(kept, FIRST)
  }
  t.equal((await reads(sql)).length, 2)
  const many = Array.from({ length: 200 }, (_, run) => String(run))
  for (let i = 0; i < FIRST + 3; i++) await source.read(sql, after(0n), many)
  const [, , ofMany] = await reads(sql)
  t.match(ofMany, { kept: 0, made: FIRST + 3 })
})

t.test('a plan from when the table was tiny does not stay', async (t) => {
  const own = connect(t, server.url, { max: 1 })
  addArrayTypes(own)
  await sql`truncate scraper_log`
  await write(1)
  await sql`analyze scraper_log`
  const source = new Source(table)
  let last = 0n
  const readOn = async () => {
    for (let more = true; more;) {
      const page = await source.read(own, after(last), null)
      last = page.rows.at(-1)?.id ?? last
      more = page.more
    }
  }
  const plan = async () => {
    const [read] = await reads(own)
    const lines = await own.unsafe(`explain execute "${read!.name}"('{1}', '{2}', 'public.scraper_log')`)
    return lines.map((line) => line['QUERY PLAN']).join('\n')
  }
  for (let i = 0; i <= FIRST; i++) await readOn()
  t.match(await plan(), /Seq Scan on scraper_log/, 'all of a tiny table is the shortest way')
  for (let i = 0; i < 8; i++) {
    await write(1000)
    await readOn()
  }
  t.match(await plan(), /Index Scan using scraper_log_pkey/)
  t.notMatch(await plan(), /Seq Scan on scraper_log/)
})

t.test('a replay goes by the index of its run, whatever the type and the collation of that', async (t) => {
  await sql`create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`
  for (const [i, type] of ['text', 'text collate blind', 'text collate "C"', 'char(9)', 'bigint'].entries()) {
    const own = connect(t, server.url, { max: 1 })
    addArrayTypes(own)
    const name = `runs_${i}`
    await own.unsafe(`create table ${name} (id bigserial primary key, run_id ${type}, level text, message text, created_at timestamptz);
      insert into ${name} (run_id, message) select (i % 100)::text::${type}, 'x' from generate_series(1, 20000) i; create index on ${name} (run_id, id); analyze ${name}`)
    const source = new Source(await inspectTable(own, name, table.columns))
    for (let i = 0; i <= FIRST; i++) t.equal((await source.replay(own, after(0n), { run: '7', levels: null })).rows.length, 200)
    const [read] = await reads(own)
    for (const mode of ['force_custom_plan', 'force_generic_plan']) {
      await own.unsafe(`set plan_cache_mode = ${mode}`)
      const plan = (await own.unsafe(`explain execute "${read!.name}"('{1}', '{9223372036854775807}', '7')`)).map((line) => line['QUERY PLAN']).join('\n')
      t.match(plan, new RegExp(`Index Scan using ${name}_run_id_id_idx[^]*Index Cond: \\(\\(run_id = .*\\(id >= .*\\(id <= `), `${type}, ${mode}`)
    }
  }
})
