// `fastify-pg-tail doctor` in a test, and what it finds.

import type { Test } from 'tap'
import { runCli } from './cli.ts'
import { connect, createDatabase, createDemoTables } from './postgres.ts'

export interface Found { check: string, level: string, what: string, why?: string, fix?: string[] }

/** The servers of the tests have it. */
export const TWO_PHASE = 'warning two-phase: max_prepared_transactions is 10'

export async function examine (t: Test, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Found[]> {
  const { code, out, err } = await runCli(t, ['doctor', '--json', ...args], env)
  t.equal(err, '')
  const { fine, findings } = JSON.parse(out) as { fine: boolean, findings: Found[] }
  t.equal(code, fine ? 0 : 1)
  t.equal(fine, findings.every(({ level }) => level !== 'problem'))
  for (const { level, why, fix } of findings) if (level !== 'ok') t.ok(why && fix, 'why it matters, and what fixes it')
  return findings
}

export const bad = (findings: Found[]) => findings.filter(({ level }) => level !== 'ok').map(({ check, level, what }) => `${level} ${check}: ${what}`)
export const of = (findings: Found[], wanted: string) => findings.filter(({ check }) => check === wanted)

let databases = 0

/** A database with the tables and a row, installed unless told otherwise. */
export async function fresh (t: Test, server: { url: string }, { installed = true } = {}) {
  const url = await createDatabase(t, server, `cli_doctor_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  await sql`insert into scraper_log (run_id, message) values (0, 'first')`
  const env = { DATABASE_URL: url }
  if (installed) t.equal((await runCli(t, ['install', 'public.scraper_log', '--runs', 'public.scraper_run'], env)).code, 0)
  return { url, sql, env, look: (...args: string[]) => examine(t, ['--table', 'public.scraper_log', ...args], env) }
}
