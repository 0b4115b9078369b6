// The example as its users start it: `npm start`, in a process group of its own such as a terminal gives it.

import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { eventually } from './support/eventually.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { Program } from './support/program.ts'
import { SseClient } from './support/sse-client.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

async function npmStart (t: Test, env: NodeJS.ProcessEnv) {
  const program = new Program(t, 'npm', ['start'], { cwd: root, detached: true, env: { PORT: '0', DATABASE_URL: '', ADMIN_TOKEN: '', ...env } })
  const [, origin, token] = await program.says(/Watch +(http:\S+)\/\s[^]*Bearer ([\w-]+|\$ADMIN_TOKEN)"/) as unknown as [string, string, string]
  return { program, origin, token }
}

const statusOf = (origin: string, token: string) => fetch(`${origin}/logs/status`, { headers: { authorization: `Bearer ${token}` } })

/** The processes that a folder stands in the environment or the command of, and what they were started as. Linux only. */
async function processesOf (folder: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid))) {
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '')
    const command = await read('cmdline')
    if (command.includes(folder) || (await read('environ')).includes(folder)) found.push(command.replaceAll('\0', ' '))
  }
  return found
}

const withoutProc = existsSync('/proc/self/environ') ? false : 'no /proc here'

for (const [name, signal] of [['Ctrl-C', 'SIGINT'], ['kill -9', 'SIGKILL']] as const) {
  t.test(`with a database of its own; nothing is left after ${name}`, { skip: withoutProc }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'pg-tail-example-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    await chmod(folder, 0o1777)
    const { program, origin, token } = await npmStart(t, { TMPDIR: folder })
    const page = await fetch(origin)
    t.match(await page.text(), /<script/)
    const client = await SseClient.connect(`${origin}/logs/stream`)
    await client.until(({ data }) => data.type === 'log')
    client.close()
    await eventually(async () => await (await fetch(`${origin}/runs`)).json() as object[], ({ length }) => length > 1)
    t.equal((await statusOf(origin, 'wrong')).status, 403)
    t.match(await (await statusOf(origin, token)).json(), { available: true, listener: { running: true } })

    const before = await processesOf(folder)
    const [, data] = /-D (\S+)/.exec(before.find((command) => command.includes('-D ')) ?? '') as unknown as [string, string]
    t.ok(before.length >= 4 && existsSync(data), 'npm, the app, a guard and a server', { before })
    const exit = once(program.process, 'exit')
    program.signal(signal)
    await exit
    await eventually(() => processesOf(folder), ({ length }) => length === 0)
    t.notOk(existsSync(data), 'its data is gone')
    t.equal(await fetch(origin).then(() => 'an answer', () => 'none'), 'none')
  })
}

t.test('with a server of one\'s own, without the demo', async (t) => {
  const server = await startPostgres(t)
  const { program, origin, token } = await npmStart(t, { DATABASE_URL: server.url, DEMO: 'off', ADMIN_TOKEN: 'mine' })
  t.equal(token, '$ADMIN_TOKEN', 'what came from outside is not in the log')
  const client = await SseClient.connect(`${origin}/logs/stream?run_id=7`)
  await client.until(({ data }) => data.type === 'connected')
  const sql = connect(t, server.url)
  t.match(await sql`select count(*)::int as count from scraper_log`, [{ count: 0 }], 'nobody writes')
  await sql`insert into scraper_run (id, name) overriding system value values (7, 'mine')`
  await sql`insert into scraper_log (run_id, message) values (7, 'by hand')`
  t.match((await client.until(({ data }) => data.type === 'log')).data, { run_id: 7, message: 'by hand' })
  t.equal((await statusOf(origin, token)).status, 403)
  t.equal((await statusOf(origin, 'mine')).status, 200)
  const exit = once(program.process, 'exit')
  program.signal('SIGINT')
  await exit
  t.equal(await client.ended, 'end', 'a clean end')
})

t.test('the fewest lines', async (t) => {
  const server = await startPostgres(t)
  const sql = connect(t, server.url)
  await createDemoTables(sql)
  const code = (await readFile(join(root, 'examples', 'minimal.ts'), 'utf8')).replace('port: 3000', 'port: 0').replace("'../plugin.ts'", JSON.stringify(new URL('../plugin.ts', import.meta.url).href))
  const app = new Program(t, process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { cwd: root, env: { DATABASE_URL: server.url } })
  const [, origin] = await app.says(/Server listening at (http:\/\/\[?[\w.:]+\]?:\d+)/)
  await sql`insert into scraper_log (run_id, message) values (7, 'few lines')`
  const client = await SseClient.connect(`${origin}/logs/stream?tail=10`)
  t.match((await client.until(({ data }) => data.type === 'log')).data, { message: 'few lines' })
  client.close()
})
