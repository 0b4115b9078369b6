import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { SINGLE_WRITER_RUNS } from './client.ts'
import type { Random } from './random.ts'

export interface WriterOptions {
  /** A session of the writer's own. */
  connect: () => Sql
  table: string
  sequence: string
  random: Random
  /** Ids of rows that were deleted, or may have been. */
  gone: Set<number>
  stopped: () => boolean
}

type Deed = (sql: Sql, o: WriterOptions, run: number) => Promise<unknown>

const LEVELS = ['DEBUG', 'INFO', 'INFO', 'INFO', 'WARNING', 'ERROR']

function insert (sql: Sql, { table, random }: WriterOptions, run: number, count = 1): Promise<unknown> {
  const level = random.pick(LEVELS)
  return sql.unsafe(`insert into ${table} (run_id, level, message) select $1, $2, 'line ' || n || chr(13) || chr(10) || chr(10) || 'data: x'
    from generate_series(1, $3::int) n`, [run, level, count])
}

const ROLLED_BACK = 'rolled back'
const rollBack = () => { throw new Error(ROLLED_BACK) }

function transaction (sql: Sql, task: (tx: Sql) => Promise<unknown>): Promise<unknown> {
  return sql.begin((tx) => task(tx as unknown as Sql))
}

async function finishPrepared ({ connect }: WriterOptions, name: string): Promise<void> {
  for (;;) {
    const sql = connect()
    try {
      const left = await sql`select from pg_prepared_xacts where gid = ${name}`
      if (left.length > 0) await sql.unsafe(`rollback prepared '${name}'`)
      return
    } catch {
      await sleep(200)
    } finally {
      await sql.end({ timeout: 1 })
    }
  }
}

/** Milliseconds. Where a session dies at the wrong moment, the driver never answers. */
const PATIENCE = 20_000

/** Does it again and again until it is told to stop; whatever goes wrong, it goes on, on a new session. */
async function repeat ({ connect, random, stopped }: WriterOptions, pause: number, deed: (sql: Sql) => Promise<unknown>): Promise<void> {
  let sql = connect()
  while (!stopped()) {
    try {
      await Promise.race([deed(sql), sleep(PATIENCE, undefined, { ref: false }).then(() => { throw new Error('no answer') })])
    } catch (error) {
      if ((error as Error).message !== ROLLED_BACK) {
        sql.end({ timeout: 0 }).catch(() => {})
        await sleep(100)
        sql = connect()
      }
    }
    await sleep(random.between(0, pause))
  }
  await sql.end({ timeout: 1 })
}

/** What writers do, each with the chance of it. */
const DEEDS: Array<[chance: number, name: string, Deed]> = [
  [30, 'autocommit', (sql, o, run) => insert(sql, o, run)],
  [10, 'short transaction', (sql, o, run) => transaction(sql, async (tx) => {
    await insert(tx, o, run, o.random.integer(1, 5))
    await sleep(o.random.between(0, 600))
    await insert(tx, o, run)
  })],
  [0.7, 'long transaction', (sql, o, run) => transaction(sql, async (tx) => {
    await insert(tx, o, run)
    await sleep(o.random.between(2000, 6000))
  })],
  [6, 'rollback', (sql, o, run) => transaction(sql, async (tx) => {
    await insert(tx, o, run, o.random.integer(1, 5))
    rollBack()
  })],
  [4, 'savepoint', (sql, o, run) => transaction(sql, async (tx) => {
    await insert(tx, o, run)
    await (tx as any).savepoint(async (point: Sql) => {
      await insert(point, o, run, 2)
      rollBack()
    }).catch(() => {})
    await insert(tx, o, run)
  })],
  [3, 'on conflict do nothing', (sql, { table, random }, run) => sql.unsafe(
    `insert into ${table} (run_id, message, key) values ($1, 'once', $2) on conflict do nothing`, [run, `key ${random.integer(1, 5)}`])],
  [0.6, 'bulk', (sql, o, run) => insert(sql, o, run, o.random.integer(1000, 10_000))],
  [0.2, 'bulk, rolled back', (sql, o, run) => transaction(sql, async (tx) => {
    await insert(tx, o, run, 10_000)
    rollBack()
  })],
  [1, 'copy', async (sql, { table }, run) => {
    const stream = await sql.unsafe(`copy ${table} (run_id, message) from stdin`).writable()
    await new Promise((resolve, reject) => {
      stream.on('error', reject).on('finish', resolve)
      stream.end(`${run}\tcopied\n`.repeat(50))
    })
  }],
  [2, 'nextval first', (sql, o, run) => transaction(sql, async (tx) => {
    const [{ id }] = await tx.unsafe(`select nextval('${o.sequence}') as id`) as any
    await sleep(o.random.between(0, 300))
    await tx.unsafe(`insert into ${o.table} (id, run_id, message) values ($1, $2, 'by its number')`, [id, run])
  })],
  [1, 'clock wrong', (sql, { table, random }, run) => sql.unsafe(
    `insert into ${table} (run_id, message, created_at) values ($1, 'when?', $2)`,
    [run, random.pick(['-infinity', 'infinity', '0044-03-15 BC', '1970-01-01', '2999-12-31', '100000-01-01'])])],
  [2, 'slow default', (sql, o, run) => sql.unsafe(
    `insert into ${o.table} (run_id, message) values ($1, 'slow' || pg_sleep($2))`, [run, o.random.between(0, 0.3)])],
  [1, 'two-phase commit', async (sql, o, run) => {
    const name = `torture ${o.random.integer(0, 2 ** 31)}`
    try {
      await sql`begin`
      await insert(sql, o, run)
      // Refused where the bell has rung, which is what happens to anybody who tries.
      await sql.unsafe(`prepare transaction '${name}'`)
      await sleep(o.random.between(0, 500))
      await sql.unsafe(`${o.random.next() < 0.7 ? 'commit' : 'rollback'} prepared '${name}'`)
    } catch (error) {
      // An orphan would hold its gap open to the end.
      await finishPrepared(o, name)
      throw error
    }
  }],
  [0.5, 'killed', async (sql, o, run) => {
    await transaction(sql, async (tx) => {
      await insert(tx, o, run, 10)
      await tx`select pg_terminate_backend(pg_backend_pid())`
    })
  }],
  [0.5, 'retention', async (sql, { table, gone }) => {
    const rows = await sql.unsafe(`select id from ${table} where id < (select max(id) - 30000 from ${table}) order by id limit 300`)
    // Noted first: the answer to the delete may be lost.
    for (const { id } of rows) gone.add(Number(id))
    await sql.unsafe(`delete from ${table} where id = any($1::bigint[])`, [rows.map(({ id }) => id)])
  }]
]

const CHANCES = DEEDS.reduce((sum, [chance]) => sum + chance, 0)

export function write (options: WriterOptions, run: number, deeds: Map<string, number>): Promise<void> {
  const { random } = options
  return repeat(options, 25, async (sql) => {
    let dice = random.between(0, CHANCES)
    const [, name, deed] = DEEDS.find(([chance]) => (dice -= chance) < 0)!
    deeds.set(name, (deeds.get(name) ?? 0) + 1)
    await deed(sql, options, run)
  })
}

/** One row at a time, in order: what a run with one writer looks like. */
export function writeInOrder (options: WriterOptions, index: number): Promise<void> {
  return repeat(options, 40, (sql) => insert(sql, options, SINGLE_WRITER_RUNS + index))
}
