import type { ISql } from 'postgres'
import { readTriggers, ROW, STATEMENT, type InstallTarget } from './install.ts'

/** What our trigger does for each new row. */
export type Bell = Pick<InstallTarget, 'channel' | 'payload'>

/** What our trigger on the log table does, where that is something else than it should. Null: it is as it should be, not there, or not the same everywhere. */
export async function otherBell (sql: ISql, target: InstallTarget): Promise<Bell | null> {
  const bells: Bell[] = []
  for (const { part, name, enabled, channel } of await readTriggers(sql, target)) {
    if (part !== 'log' || !enabled || channel === null || (name !== STATEMENT.name && name !== ROW.name)) continue
    const payload = name === ROW.name ? 'row' : 'none'
    if (!bells.some((bell) => bell.channel === channel && bell.payload === payload)) bells.push({ channel, payload })
  }
  const [bell, ...others] = bells
  return bell === undefined || others.length > 0 || (bell.channel === target.channel && bell.payload === target.payload) ? null : bell
}
