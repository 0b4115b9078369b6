import type { Sql } from 'postgres'
import { heirs, isSubscribed, silentRoles } from '../../postgres/bypasses.ts'
import { ok, warning, type Finding, type Findings } from './finding.ts'

const SILENT = 'Its rows do not ring: they are read with the next bell, or after 30 s.'

/** Who writes past the trigger, or past the sequence. */
export async function * checkWriters (sql: Sql, table: string, oid: number): Findings {
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
  if (found.length === 0) yield ok('writers', 'nobody is known to write past its trigger or its sequence')
  yield * found
}
