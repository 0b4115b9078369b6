import type { Sql } from 'postgres'
import { uninstallScript } from './script.ts'

/**
 * Takes the triggers from a table; or, without one, everything of ours from the database.
 * @returns whether something was there
 */
export async function uninstall (sql: Sql, table: string | null): Promise<boolean> {
  // A table that is not there is told of, also where nothing of ours is.
  const [{ schema, triggers }] = await sql<[{ schema: boolean, triggers: number }]>`/* fastify-pg-tail */
    select to_regnamespace('fastify_pg_tail') is not null as schema, (
      select count(*)::int from pg_trigger t join pg_proc p on p.oid = t.tgfoid
      where t.tgparentid = 0 and p.pronamespace = to_regnamespace('fastify_pg_tail') and (
        t.tgrelid in (select relid from pg_partition_tree(${table}::text::regclass)) or t.tgrelid = ${table}::text::regclass
        or t.oid in (select objid from pg_depend where classid = 'pg_trigger'::regclass and refclassid = 'pg_class'::regclass
          and refobjid = ${table}::text::regclass))) as triggers`
  if (!(table === null ? schema : triggers > 0)) return false
  try {
    await sql.unsafe(await uninstallScript(table)).simple()
  } catch (error) {
    // The transaction that it began is still open, unless its session is gone.
    await sql.unsafe('rollback').simple().catch(() => {})
    throw error
  }
  return true
}
