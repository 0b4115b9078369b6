import type { Table } from './table.ts'

/**
 * SQL for which life of the table this is, as text: the table that has the name, and the file of the
 * sequence. A crash sets an UNLOGGED sequence back in its old file; then the server's statistics
 * start again, too, whose time every role can read.
 * @param name SQL for the table's name, as text
 */
export function epochOf (name: string, { sequence }: Table): string {
  return `(select concat_ws(':', to_regclass(${name})::oid, pg_relation_filenode(${sequence}::oid::regclass),
    case (select relpersistence from pg_class where oid = ${sequence}::oid) when 'u' then (select extract(epoch from stats_reset) from pg_stat_bgwriter) end))`
}

/** SQL for whether this role may ask the sequence how far it is. */
export function mayAsk ({ sequence }: Table): string {
  return `(has_sequence_privilege(${sequence}::oid, 'select') or has_sequence_privilege(${sequence}::oid, 'usage'))`
}

/** SQL for the last id that the sequence has handed out: null where it has not handed out any, or may not be asked. */
export function lastValueOf (table: Table): string {
  return `(select pg_sequence_last_value(${table.sequence}::oid::regclass) where ${mayAsk(table)})`
}
