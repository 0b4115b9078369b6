import type { Sql } from 'postgres'
import { heirs, isSubscribed, silentRoles, strayPartitions } from '../../postgres/bypasses.ts'
import { literals } from '../../postgres/install.ts'
import { quote } from '../../postgres/query.ts'
import type { Relation } from '../../postgres/table.ts'
import { ok, warning, type Finding, type Findings } from './finding.ts'

const SILENT = 'Its rows do not ring: they are read with the next bell, or after 30 s.'

/** Who writes past the trigger, or past the sequence. */
export async function * checkWriters (sql: Sql, table: string, { oid, sequence }: Relation, id: string): Findings {
  const found: Finding[] = []
  const warn = (...args: [what: string, why: string, ...fix: string[]]) => { found.push(warning('writers', ...args)) }
  if (await isSubscribed(sql, oid)) {
    warn('a subscription of logical replication writes to it', `${SILENT} And their ids come from elsewhere: those below newer ones may be missed.`,
      'Tail the table at the publisher, with a connection to there.')
  }
  for (const whose of await silentRoles(sql)) {
    warn(`session_replication_role is replica for ${whose}`, `No trigger fires for whoever writes so. ${SILENT}`, `alter ${whose} reset session_replication_role;`)
  }
  for (const heir of await heirs(sql, oid)) {
    warn(`${heir} inherits from it`, 'Rows that are put there are read with it, but do not ring. Their ids may come from another sequence: those below newer ones may be missed.',
      `alter table ${heir} no inherit ${table}; -- and tail it by itself`)
  }
  const strays = sequence === null ? [] : await strayPartitions(sql, oid, id, sequence)
  for (const { name, own } of strays) {
    warn(`partition ${name} takes its ids from another sequence`, 'Rows that are put straight into it may get ids below newer ones, and be missed.',
      `alter table ${name} alter column ${quote(id)} set default nextval(${literals(own)});`)
  }
  if (found.length === 0) yield ok('writers', 'nobody is known to write past its trigger or its sequence')
  yield * found
}
