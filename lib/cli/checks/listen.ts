import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { Database } from '../../postgres/database.ts'
import { query } from '../../postgres/query.ts'
import type { Reader } from '../../postgres/reader.ts'
import { errorText } from '../failure.ts'
import { TIMEOUT } from '../server.ts'
import { ok, problem, type Findings } from './finding.ts'

/** Milliseconds within which a bell of our own has to come back. */
const ECHO = 5000
const WHY = 'Without bells the plugin polls, once a second by default.'

/** Whether LISTEN delivers: rung over another session, for a pooler could answer to one on the same. */
export async function * checkListen (reader: Reader, url: string, isApart: boolean): Findings {
  const channel = `fastify_pg_tail_doctor_${randomBytes(8).toString('hex')}`
  const option = isApart ? 'listenConnectionString' : 'connectionString'
  let lose: (error: Error) => void = () => {}
  const lost = new Promise<never>((_resolve, reject) => { lose = reject })
  lost.catch(() => {})
  const listener = new Database(url, { name: 'fastify-pg-tail doctor', timeout: TIMEOUT, onlost: (cause) => lose(cause) })
  try {
    let hear: () => void = () => {}
    const heard = new Promise<true>((resolve) => { hear = () => resolve(true) })
    await Promise.race([lost, listener.answer(listener.sql.listen(channel, hear))])
    if (isApart && !await isSame(reader, listener)) {
      yield problem('listen', `${option} leads to another database than connectionString`, WHY, `Set ${option} to the same database of the same server.`)
      return
    }
    await reader.answer((sql) => query(sql, 'select pg_notify($1, $2)', [channel, '']))
    yield await Promise.race([heard, lost, delay(ECHO, false, { ref: false })])
      ? ok('listen', 'LISTEN delivers: a notification came back over another session')
      : problem('listen', 'LISTEN is accepted, but no notification comes back: so does a pooler in transaction mode', WHY,
        isApart ? `Set ${option} to the server itself.` : 'Set listenConnectionString to the server itself, and try: fastify-pg-tail doctor --listen-database <url>')
  } catch (error) {
    yield problem('listen', `a session that LISTENs cannot be had: ${errorText(error)}`, WHY, `Correct ${option}, or fix what is in the way.`)
  } finally {
    await listener.close()
  }
}

async function isSame (reader: Reader, listener: Database): Promise<boolean> {
  const name = (sql: Sql) => query(sql, 'select current_database() as database, extract(epoch from pg_postmaster_start_time())::text as started')
  const [[here], [there]] = await Promise.all([reader.answer(name), listener.answer(name(listener.sql))])
  return here!['database'] === there!['database'] && here!['started'] === there!['started']
}
