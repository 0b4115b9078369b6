// What stands in the log, and at which level.

import { mock } from 'node:test'
import t, { type Test } from 'tap'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'

const server = await startPostgres(t)
const [DEBUG, INFO, WARNING, ERROR] = [20, 30, 40, 50]
let databases = 0

/** An app whose log is kept. */
async function setup (t: Test, options: Partial<FastifyPgTailOptions> = {}, through?: TcpProxy) {
  const url = await createDatabase(t, server, `logged_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  const lines: any[] = []
  const logger = { level: 'debug', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const started = await startApp(t, { connectionString: through?.url(url) ?? url, ...options }, { state: options.install === false ? 'polling' : 'listening', server: { logger } })
  /** Resolves with the first line that has this level and text. */
  const logged = (level: number | undefined, text: RegExp) => eventually(() => lines.find((line) => line.level === level && text.test(line.msg)))
  return { ...started, sql, lines, logged }
}

t.test('the life of a listener, at four levels', async (t) => {
  const proxy = await TcpProxy.start(t, server.port)
  const { app, sql, stream, logged } = await setup(t, { listenerHeartbeat: 50, reconnect: { initialDelay: 5, maxDelay: 200, maxAttempts: 3 } }, proxy)
  await logged(INFO, /^listener started$/)
  await logged(INFO, /^listener connected/)
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  await logged(DEBUG, /^subscriber joined$/)
  await eventually(async () => (await app.inject('/logs/status')).json().doorbell.state === 'armed')
  await sql`insert into scraper_log (run_id, message) values (7, 'x')`
  await logged(DEBUG, /^bell$/)
  await client.until(({ data }) => data.type === 'log')
  proxy.refuse()
  proxy.cut()
  await logged(WARNING, /^listener is unhealthy/)
  await logged(WARNING, /^listener does not hear bells/)
  t.match(await logged(ERROR, /^listener gave up/), { attempt: 3, retryInMs: Number })
  const { retryInMs } = await logged(ERROR, /^listener gave up/)
  t.ok(retryInMs >= 160 && retryInMs <= 240, 'the slowest pace from there on', { retryInMs })
  proxy.accept()
  await eventually(() => app.notifyListener.state === 'listening')
  client.close()
  await logged(DEBUG, /^subscriber left$/)
  await app.close()
  await logged(INFO, /^listener stopped$/)
})

t.test('that the trigger was put there, also where somebody has taken it away', async (t) => {
  const { sql, logged, lines } = await setup(t, { listenerHeartbeat: 50 })
  t.match(await logged(INFO, /^the trigger was installed$/), { table: 'public.scraper_log', missing: [/^schema/, /_insert on/, /_truncate on/] })
  await sql`select fastify_pg_tail.uninstall('scraper_log')`
  await eventually(() => lines.filter(({ msg }) => msg === 'the trigger was installed'), ({ length }) => length === 2)
})

t.test('what is missing, and the commands that fix it', async (t) => {
  const { app, logged, lines } = await setup(t, { install: false, stream: {} })
  await logged(WARNING, /nothing guards/)
  t.notOk(lines.some(({ msg }) => /doorbell is not installed/.test(msg)), 'false: not a word of the trigger')
  await app.close()

  const url = await createDatabase(t, server, `logged_${++databases}`)
  const other = connect(t, url)
  await createDemoTables(other)
  await other.unsafe('drop index scraper_log_run_id_id_idx; alter sequence scraper_log_id_seq increment by 50')
  const said: any[] = []
  const logger = { level: 'warn', stream: { write: (line: string) => { said.push(JSON.parse(line)) } } }
  const verified = await startApp(t, { connectionString: url, install: 'verify', listenerHeartbeat: 50 }, { state: 'polling', server: { logger } })
  for (const wanted of [/has no index on/, /steps of 50/]) t.ok(said.some(({ msg }) => wanted.test(msg)), String(wanted))
  const { remedy, msg } = await eventually(() => said.find(({ msg }) => /the doorbell is not installed as it should be/.test(msg)))
  t.match(msg, /To fix it: npx fastify-pg-tail install public\.scraper_log$/)
  for (const command of remedy) {
    const file = /^psql .*-f (.+)$/.exec(command)
    if (file) await other.file(new URL('../sql/install.sql', import.meta.url).pathname).simple()
    else await other.unsafe(command)
  }
  await eventually(() => verified.app.notifyListener.state === 'listening')
})

t.test('who keeps a gap open for long is named once', async (t) => {
  const { sql, stream, logged, lines } = await setup(t, { pollInterval: 20, install: false }) // A trigger that has rung forbids to prepare.
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  const forgotten = await sql.reserve()
  await forgotten`begin`
  await forgotten`insert into scraper_log (run_id, message) values (7, 'late')`
  await forgotten`prepare transaction 'forgotten'`
  await sql`insert into scraper_log (run_id, message) values (7, 'early')`
  await client.until(({ data }) => data.message === 'early')
  let clock = performance.now()
  const { mock: real } = mock.method(performance, 'now', () => clock)
  t.teardown(() => real.restore())
  // Time passes in steps, so that everybody sees that it does.
  const passing = eventually(async () => {
    clock += 5000
    await new Promise((resolve) => setTimeout(resolve, 20))
    return lines.some(({ msg }) => /has been open for long/.test(msg))
  })
  const { heldBy, id } = await logged(WARNING, /has been open for long/)
  await passing
  t.equal(id, '1')
  t.match(heldBy, [{ pid: null, gid: 'forgotten', state: 'prepared transaction', age_seconds: Number }])
  clock += 60_000
  await forgotten`commit prepared 'forgotten'`
  await client.until(({ data }) => data.message === 'late')
  t.equal(lines.filter(({ msg }) => /has been open for long/.test(msg)).length, 1)
  forgotten.release()
  client.close()
})
