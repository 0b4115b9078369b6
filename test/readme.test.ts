// What the README shows is run as it stands there. A block to run has a mark above it: `<!-- test: … -->`.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import cookie from '@fastify/cookie'
import t, { type Test } from 'tap'
import { readOptions } from '../lib/options.ts'
import { stopped } from '../lib/queue/frame.ts'
import { startApp as startPlugin } from './support/app.ts'
import { connect, startPostgres } from './support/postgres.ts'
import { Program } from './support/program.ts'

const COOKIE_SECRET = 'sixteen characters, or more of them'
const root = fileURLToPath(new URL('..', import.meta.url))
const readme = await readFile(join(root, 'README.md'), 'utf8')
const marked = [...readme.matchAll(/^<!-- test: (\S+) -->\n```\w+\n(.*?)^```$/gms)].map(([, name, code]) => ({ name: name!, code: code! }))
const blocks = (name: string) => marked.filter((block) => block.name === name).map(({ code }) => code)
const [curl, psql] = blocks('shell') as [string, string]

// The folder of an app that has the plugin installed, from its source.
const folder = await mkdtemp(join(tmpdir(), 'fastify-pg-tail-readme-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const own = join(folder, 'node_modules', 'fastify-pg-tail')
await mkdir(own, { recursive: true })
await writeFile(join(own, 'package.json'), '{ "type": "module", "exports": "./index.js" }')
await writeFile(join(own, 'index.js'), `export { default } from ${JSON.stringify(new URL('../plugin.ts', import.meta.url))}`)
await symlink(join(root, 'sql'), join(own, 'sql'))
await symlink(join(root, 'node_modules', 'fastify'), join(folder, 'node_modules', 'fastify'))
await symlink(join(root, 'node_modules', '@fastify'), join(folder, 'node_modules', '@fastify'))

/** All names in it, as paths; but those of runs. */
function names (value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null || path === '.notification_queues.queue_sizes') return [path]
  return Object.entries(value).flatMap(([name, held]) => names(held, `${path}.${name}`)).sort()
}

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 1 })
for (const code of blocks('tables.sql')) await sql.unsafe(code).simple()
await sql`create role app login password 'app'`
await sql`insert into scraper_run (id, name) values (7, 'a run')`
await sql`insert into scraper_log (run_id, message) values (7, 'from the README')`
const plainUrl = server.url.replace(/\/\/.*@/, '//app:app@')

const run = (t: Test, command: string, args: string[], env: NodeJS.ProcessEnv = {}) =>
  new Program(t, command, args, { cwd: folder, env: { DATABASE_URL: server.url, ADMIN_TOKEN: 'open', COOKIE_SECRET, ...env } })

async function sample (t: Test, name: string, code: string, env?: NodeJS.ProcessEnv): Promise<Program> {
  await writeFile(join(folder, name), code.replaceAll('port: 3000', 'port: 0'))
  return run(t, process.execPath, ['--experimental-eventsource', '--import', import.meta.resolve('tsx'), name], env)
}

async function startApp (t: Test, name: string, env?: NodeJS.ProcessEnv): Promise<string> {
  const app = await sample(t, name, blocks(name)[0]!, env)
  return (await app.says(/Server listening at (http:\/\/127\.0\.0\.1:\d+)/))[1]!
}

/** Where all tests have to run a missing program is a failure. */
const without = (program: string) => process.env.CI || spawnSync(program, ['--version']).status === 0 ? false : `no ${program} here`

t.test('every sample of code is run, every file that is named is there', async (t) => {
  t.equal([...readme.matchAll(/^```(?:js|ts|sql)$/gm)].length, marked.length - blocks('shell').length)
  for (const [, path] of readme.matchAll(/(?:`|\]\()((?:test|lib|docs|sql)\/[\w./-]+)/g)) t.ok(existsSync(join(root, path!)), path!)
})

t.test('the app, and curl', { skip: without('curl') }, async (t) => {
  const origin = await startApp(t, 'app.mjs')
  const client = run(t, 'sh', ['-c', `exec ${curl.replace('http://localhost:3000', origin)}`])
  t.ok(await client.says(/^id: 1\ndata: {"type":"log".*"message":"from the README"}$/m))
})

const shown = (language: string) => [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text!)

t.test('the status, and the messages, as they are shown', async (t) => {
  const { app, stream } = await startPlugin(t, { connectionString: server.url, install: true })
  const client = await stream('tail=1')
  const connected = await client.until(({ data }) => data.type === 'connected')
  const log = await client.until(({ data }) => data.type === 'log')
  await sql`insert into scraper_log (run_id, message) values (8, 'live')`
  await client.until(({ data }) => data.message === 'live')
  const [sampleStatus] = shown('json')
  t.same(names((await app.inject('/logs/status')).json()), names(JSON.parse(sampleStatus!)))
  client.close()

  const messages = [...shown('text')[0]!.matchAll(/^data: (.*)$/gm)].map(([, json]) => JSON.parse(json!))
  const { texts } = readOptions({ connectionString: server.url, table: 'x' }).tables.default!
  const { message, ...end } = stopped({ run: '7', status: 'finished', message: null }, 1234, true, texts.stopped('finished'))
  t.same(messages[0], connected.data)
  t.same(Object.keys(messages[1]), Object.keys(log.data))
  t.same(messages.slice(2), [{ type: 'mode', mode: 'poll', message: texts.mode('poll') }, { ...end, message }])
})

t.test('psql', { skip: without('psql') }, async (t) => {
  const [code] = await once(run(t, 'sh', ['-ec', psql]).process, 'exit')
  t.equal(code, 0)
})

t.test('the SQL by hand', async (t) => {
  await sql.file(join(root, 'sql', 'install.sql')).simple()
  for (const code of blocks('sql')) t.ok(await sql.unsafe(code).simple())
})

t.test('the app with somebody at the door, by a plain role', async (t) => {
  const origin = await startApp(t, 'guarded.mjs', { DATABASE_URL: plainUrl })
  const status = (authorization: string) => fetch(`${origin}/logs/status`, { headers: { authorization } })
  t.equal((await status('Bearer shut')).status, 403)
  let listener
  do listener = (await (await status('Bearer open')).json() as any).listener
  while (listener.state === 'connecting')
  t.match(listener, { state: 'listening', last_error: null })
  t.equal((await fetch(`${origin}/logs/stream?run_id=7`)).status, 403)
  const allowed = await fetch(`${origin}/logs/stream?run_id=7`, { headers: { cookie: `user=${encodeURIComponent(cookie.sign('anna', COOKIE_SECRET))}` } })
  t.equal(allowed.status, 200)
  await allowed.body!.cancel()
})

t.test('several tables', async (t) => {
  await sql`create table audit_log (id bigserial primary key, run_id bigint, level text, message text, created_at timestamptz default now())`
  const origin = await startApp(t, 'several.mjs')
  const allowed = { authorization: 'Bearer open' }
  for (const [path, headers, expected] of [['/logs/scrapes/stream', {}, 200], ['/audit/stream', allowed, 200], ['/audit/stream', {}, 403]] as const) {
    const { status, body } = await fetch(origin + path, { headers })
    t.equal(status, expected, path)
    await body!.cancel()
  }
})

t.test('ready, once the table is known', async (t) => {
  const origin = await startApp(t, 'ready.mjs')
  let answer
  do answer = await fetch(`${origin}/ready`)
  while (answer.status === 503)
  t.match(await answer.json(), { status: 'ok' })
})

t.test('in a page, and in-process, until a plain role stops the run', async (t) => {
  const origin = await startApp(t, 'app.mjs')
  const page = await sample(t, 'browser.mjs', blocks('browser.mjs')[0]!.replace("'/logs", `'${origin}/logs`))
  await page.says(/INFO from the README/)
  const closed = once(page.process, 'exit')
  // When it has been seen, rather than after a minute.
  const stop = "const stop = new AbortController(); process.once('SIGUSR2', () => stop.abort())\n"
  const inProcess = stop + blocks('in-process.mjs')[0]!.replace('AbortSignal.timeout(60_000)', 'stop.signal')
  const app = await sample(t, 'in-process.mjs', blocks('app.mjs')[0] + inProcess + 'await app.close()\n', { DATABASE_URL: plainUrl })
  await app.says(/^1 7 INFO from the README \S+Z 1$/m)
  app.process.kill('SIGUSR2')
  t.same(await closed, [0, null], 'the page has heard that the run was stopped')
  t.match(await sql`select run, message from fastify_pg_tail.stopped_run`, [{ run: '7', message: 'Enough' }])
})

t.test('what a table that starts afresh looks like', { skip: without('curl') }, async (t) => {
  const origin = await startApp(t, 'app.mjs')
  const client = run(t, 'sh', ['-c', `exec ${curl.replace('http://localhost:3000', origin)}`])
  await client.says(/from the README/)
  await sql`truncate scraper_log restart identity`
  t.ok(await client.says(/^data: {"type":"reset"/m))
  await sql`insert into scraper_log (run_id, message) values (8, 'afresh')`
  t.ok(await client.says(/"type":"reset".*^id: 1\ndata: {"type":"log","id":1,.*"message":"afresh"}$/ms))
})
