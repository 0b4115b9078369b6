import { errors } from '../errors.ts'

/**
 * For the select list of every statement that rows depend on. After a failover a session may be on another server,
 * behind a pooler without a sign; and a standby has neither the locks of writers nor, maybe, their last rows.
 */
export const ON_STANDBY = 'pg_is_in_recovery() as standby'

/**
 * Of a statement that always has a row, and `ON_STANDBY` in it.
 * @throws FST_PG_TAIL_SERVER where it ran on a standby
 */
export function onPrimary<T extends Record<string, any>> (rows: readonly T[]): T {
  const [row] = rows
  if (row!['standby']) {
    throw new errors.Server('it is a hot standby: it cannot LISTEN, and the locks of writers are not on it',
      'Point connectionString at the primary')
  }
  return row!
}
