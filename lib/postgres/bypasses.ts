import type { Sql } from 'postgres'
import { query } from './query.ts'

// What goes past the trigger of a table, or past its sequence, as far as the catalog shows it.

/** The table ($1), its partitions and other children. */
const TREE = 'recursive tree (rel) as (select $1::oid union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.rel)'
const NAME = "format('%I.%I', n.nspname, c.relname)"

/** Whether logical replication writes to it. */
export async function isSubscribed (sql: Sql, oid: number): Promise<boolean> {
  const [row] = await query(sql, `with ${TREE} select exists (select from pg_subscription_rel where srrelid in (select rel from tree)) as subscribed`, [oid])
  return row!['subscribed']
}

/** Who writes without triggers by default: as `alter <whose> reset …` names them. */
export async function silentRoles (sql: Sql): Promise<string[]> {
  const rows = await query(sql, `
    select case when s.setrole <> 0 then 'role ' || quote_ident(r.rolname) || coalesce(' in database ' || quote_ident(d.datname), '')
      when s.setdatabase <> 0 then 'database ' || quote_ident(d.datname) else 'role all' end as whose
    from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase
    where 'session_replication_role=replica' = any(s.setconfig) and (s.setdatabase = 0 or d.datname = current_database())
    order by 1`)
  return rows.map(({ whose }) => whose)
}

/** Tables that inherit from it and are no partitions, by name. */
export async function heirs (sql: Sql, oid: number): Promise<string[]> {
  const rows = await query(sql, `
    select ${NAME} as name from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
    where i.inhparent = $1::oid and not c.relispartition order by 1`, [oid])
  return rows.map(({ name }) => name)
}

/** Partitions that take their ids from another sequence, by name. */
export async function strayPartitions (sql: Sql, oid: number, id: string, sequence: number): Promise<string[]> {
  const rows = await query(sql, `
    with ${TREE}
    select distinct ${NAME} as name
    from tree join pg_class c on c.oid = tree.rel and c.relispartition join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute t on t.attrelid = c.oid and t.attname = $2::text
      join pg_attrdef a on a.adrelid = t.attrelid and a.adnum = t.attnum
      join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> $3::oid
      join pg_class s on s.oid = d.refobjid and s.relkind = 'S'
    order by 1`, [oid, id, sequence])
  return rows.map(({ name }) => name)
}
