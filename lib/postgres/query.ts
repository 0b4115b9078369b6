import type { Sql } from 'postgres'

/** With what statements of ours begin that may wait for somebody's lock: so that only those are ended where nobody waits for them. */
export const MARK = '/* fastify-pg-tail */'

export function query (sql: Sql, text: string, parameters: readonly unknown[] = []): Promise<Array<Record<string, any>>> {
  return sql.unsafe(`${MARK} ${text}`, parameters as any[], { prepare: true })
}

export function quote (name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** SQL for a value as text that is equal to itself only: the collation of its column may take `alice` for `ALICE`. */
export function exactText (value: string): string {
  return `(${value}::text collate "C")`
}
