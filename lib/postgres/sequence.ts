import type { Sql } from 'postgres'
import { strayPartitions } from './bypasses.ts'
import { literals } from './install.ts'
import { quote } from './query.ts'
import type { Fault } from './table.ts'

export interface SequenceInspection {
  /** Null: there is none. */
  oid: number | null
  faults: Fault[]
  warnings: Fault[]
}

/** What the catalog says of the sequence that hands out the ids of a column. */
export async function inspectSequence (sql: Sql, { name, oid, partitioned, role }: { name: string, oid: string, partitioned: boolean, role: string }, id: string): Promise<SequenceInspection> {
  const [sequence] = await sql`/* fastify-pg-tail */
    select s.seqrelid::int8::text as oid, format('%I.%I', n.nspname, c.relname) as name, s.seqcache, s.seqcycle, s.seqincrement, s.seqmin,
      has_sequence_privilege(s.seqrelid, 'select') or has_sequence_privilege(s.seqrelid, 'usage') as readable
    from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
    where s.seqrelid = coalesce(
      pg_get_serial_sequence(${name}, ${id})::regclass,
      (select d.refobjid from pg_attrdef a
        join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass
        join pg_class c on c.oid = d.refobjid and c.relkind = 'S'
        join pg_attribute t on t.attrelid = a.adrelid and t.attnum = a.adnum
        where a.adrelid = ${oid}::oid and t.attname = ${id} limit 1))`
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const add = (to: Fault[], wrong: string, ...fix: string[]) => { to.push({ about: 'sequence', wrong, fix }) }
  if (!sequence) {
    add(faults, `no sequence hands out the ids of its column "${id}", so nobody can tell which are still in flight`, ...newId(name))
    return { oid: null, faults, warnings }
  }
  const alter = (clause: string) => `alter sequence ${sequence.name} ${clause};`
  const below = 'new ids could appear below old ones, and rows would be lost'
  if (BigInt(sequence.seqincrement) < 1n) add(faults, `its sequence counts down: ${below}`, alter('increment by 1'))
  if (sequence.seqcycle) add(faults, `its sequence is CYCLE: ${below}`, alter('no cycle'))
  if (BigInt(sequence.seqcache) > 1n) add(faults, `its sequence has CACHE ${sequence.seqcache}: sessions keep ids for later, ${below}`, alter('cache 1'))
  if (BigInt(sequence.seqmin) < 1n) add(faults, 'its sequence may hand out ids below 1', alter('minvalue 1'))
  if (!sequence.readable) {
    add(warnings, `role ${role} may not read its sequence, so a restart of that goes unnoticed`, `grant select on sequence ${sequence.name} to ${role};`)
  }
  if (BigInt(sequence.seqincrement) > 1n) {
    add(warnings, `its sequence counts in steps of ${sequence.seqincrement}: an application that hands out the ids between them by itself (hi/lo) ` +
      'may do so below newer ones, and such rows would be missed', 'Where none does, all is well.')
  }
  for (const stray of partitioned ? await strayPartitions(sql, Number(oid), id, Number(sequence.oid)) : []) {
    add(warnings, `its partition ${stray} takes its ids from another sequence: rows that are put straight into it may get ids below newer ones, and would be missed`,
      `alter table ${stray} alter column ${quote(id)} set default nextval(${literals(sequence.name)});`)
  }
  return { oid: Number(sequence.oid), faults, warnings }
}

/** Gives a table a column to be tailed by. @param name quoted where SQL needs it */
export function newId (name: string): string[] {
  return [`alter table ${name} add column seq bigint generated always as identity;`, 'Then set the option columns.id to "seq".']
}
