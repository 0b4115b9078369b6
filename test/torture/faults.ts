import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import type { EmbeddedPostgres } from '../../examples/embedded-postgres.ts'
import { ADVISORY_CLASS } from '../../lib/postgres/locks.ts'
import type { TcpProxy } from '../support/proxy.ts'
import type { FleetNode } from './fleet.ts'
import type { Random } from './random.ts'

export interface Scene {
  server: EmbeddedPostgres
  /** A session for each question, on the server itself. */
  sql: Sql
  /** The same in another database. */
  elsewhere: Sql
  proxy: TcpProxy
  nodes: readonly FleetNode[]
  table: string
  random: Random
}

/** Resolves when all is as it was. */
export type Fault = (scene: Scene) => Promise<unknown>

/** Holds a session of its own while it lasts. */
async function held (sql: Sql, task: (session: Sql) => Promise<unknown>): Promise<void> {
  const session = await sql.reserve()
  try {
    await task(session as unknown as Sql)
  } finally {
    await session.unsafe('rollback; select pg_advisory_unlock_all(); unlisten *').catch(() => {})
    session.release()
  }
}

async function restart ({ server, random }: Scene, mode: 'fast' | 'immediate'): Promise<void> {
  await server.stop(mode)
  await sleep(random.between(500, 12_000))
  await server.start()
}

async function replace ({ nodes, random }: Scene, kill: boolean): Promise<void> {
  const node = random.pick(nodes.filter(({ plan }) => !plan.stays))
  await node.stop(kill)
  await sleep(random.between(0, 2000))
  await node.start()
}

export const FAULTS: Record<string, Fault> = {
  'listener terminated': ({ sql }) => sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fastify-pg-tail listener'`,
  'readers terminated': ({ sql }) => sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^fastify-pg-tail (reader|replay|lookup)'`,
  'server stopped, fast': (scene) => restart(scene, 'fast'),
  'server stopped, immediate': (scene) => restart(scene, 'immediate'),
  'link cut': async ({ proxy }) => proxy.cut(),
  'link delayed': async ({ proxy, random }) => {
    proxy.delay(random.between(50, 400))
    await sleep(5000)
    proxy.delay(0)
  },
  'link black-holed': async ({ proxy, random }) => {
    proxy.blackhole()
    await sleep(random.between(2000, 8000))
    proxy.restore()
  },
  'trigger dropped': async ({ sql, table, random }) => {
    await sql.unsafe(`drop trigger if exists fastify_pg_tail_insert on ${table}`)
    await sleep(random.between(1000, 5000))
    await sql`select fastify_pg_tail.install(${table}::regclass)`
  },
  'lock held by a stranger': ({ sql, table, random }) => held(sql, async (session) => {
    // Sleepers share it for as long as they sleep: only in between can it be had.
    for (let tries = 0, taken = false; !taken && tries < 500; tries++) {
      [{ taken }] = await session`select pg_try_advisory_lock(${ADVISORY_CLASS}, ${table}::regclass::oid::integer) as taken` as any
      await sleep(10)
    }
    await sleep(random.between(1000, 5000))
  }),
  'queue full': ({ sql, random }) => held(sql, async (session) => {
    await session`listen torture`
    await session`begin`
    await session`select 1`
    await fill(sql)
    await sleep(random.between(1000, 5000))
  }),
  'table locked': ({ sql, table, random }) => held(sql, async (session) => {
    await session`begin`
    await session.unsafe(`lock table ${table} in access exclusive mode`)
    // Longer than the nodes wait for an answer.
    await sleep(random.between(2500, 8000))
  }),
  'transaction elsewhere': ({ elsewhere, random }) => held(elsewhere, async (session) => {
    await session`begin`
    await session`insert into scraper_log (run_id, message) values (1, 'elsewhere')`
    await sleep(random.between(5000, 20_000))
  }),
  'transaction left open': ({ sql, random }) => held(sql, async (session) => {
    await session`begin`
    await session`create temporary table work (id bigserial) on commit drop`
    await session`insert into work default values`
    await sleep(random.between(5000, 20_000))
  }),
  'node restarted': (scene) => replace(scene, false),
  'node killed': (scene) => replace(scene, true)
}

/** Until nothing more goes in; needs a small max_notify_queue_pages. */
async function fill (sql: Sql): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    try {
      await sql`select pg_notify('torture', repeat('x', 7900)) from generate_series(1, 4)`
    } catch (error) {
      if ((error as { code?: string }).code === '54000') return
      throw error
    }
  }
}
