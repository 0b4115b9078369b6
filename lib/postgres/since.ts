import type { Sql } from 'postgres'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { query, quote } from './query.ts'
import type { Table } from './table.ts'

/** The lowest id of a row that is as new as that; null where there is none. */
export async function firstSince (sql: Sql, { name, columns }: Table, time: Date): Promise<bigint | null> {
  const { first } = onPrimary(await query(sql, `
    select min(${quote(columns.id)})::text as first, ${ON_STANDBY} from ${name} where ${quote(columns.timestamp)} >= $1::timestamptz`, [time.toISOString()]))
  return first === null ? null : BigInt(first)
}
