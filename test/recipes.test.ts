// What docs/recipes.md shows is run as it stands there.

import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import http from 'node:http'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import swagger from '@fastify/swagger'
import { build } from 'esbuild'
import Fastify from 'fastify'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import plugin from '../plugin.ts'
import { openPage, startBrowser, withoutChromium } from './support/browser.ts'
import { eventually } from './support/eventually.ts'
import { runNginx, withoutNginx } from './support/nginx.ts'
import { lookForPgBouncer, startPgBouncer } from './support/pgbouncer.ts'
import { freePort, isOpen } from './support/port.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { Program } from './support/program.ts'
import { SseClient } from './support/sse-client.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const text = await readFile(join(root, 'docs', 'recipes.md'), 'utf8')
const marked = [...text.matchAll(/^<!-- test: (\S+) -->\n```\w+\n(.*?)^```$/gms)].map(([, name, code]) => ({ name: name!, code: code! }))
const recipes = new Map(marked.map(({ name, code }) => [name, code]))

const folder = await mkdtemp(join(tmpdir(), 'fastify-pg-tail-recipes-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const modules = join(folder, 'node_modules')
const own = join(modules, 'fastify-pg-tail')
await mkdir(own, { recursive: true })
await writeFile(join(own, 'package.json'), '{ "type": "module", "exports": { ".": "./index.js", "./client": "./client.js" } }')
await writeFile(join(own, 'index.js'), `export { default } from ${JSON.stringify(new URL('../plugin.ts', import.meta.url))}`)
await symlink(join(root, 'sql'), join(own, 'sql'))
await writeFile(join(own, 'client.js'), `export * from ${JSON.stringify(join(root, 'client', 'tail.ts'))}`)
for (const name of ['fastify', '@fastify', 'react', 'react-dom']) await symlink(join(root, 'node_modules', name), join(modules, name))

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 1 })
await createDemoTables(sql)
const pgBouncer = await lookForPgBouncer()
const used = new Set<string>()

function take (name: string): string {
  used.add(name)
  return recipes.get(name)!
}

async function start (t: Test, name: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  return (await launch(t, name, env)).origin
}

async function launch (t: Test, name: string, env: NodeJS.ProcessEnv = {}) {
  await writeFile(join(folder, name), take(name).replaceAll('port: 3000', 'port: 0'))
  const app = new Program(t, process.execPath, ['--import', import.meta.resolve('tsx'), name], {
    cwd: folder, env: { DATABASE_URL: server.url, ADMIN_TOKEN: 'open', COOKIE_SECRET: 'a secret', ...env }
  })
  return { app, origin: (await app.says(/Server listening at (https?:\/\/127\.0\.0\.1:\d+)/))[1]! }
}

/** A page of the origin's that only this test has. */
async function openOwnPage (t: Test, origin: string, html: string): Promise<Page> {
  const browser = await startBrowser(t)
  const context = await browser.newContext()
  await context.route(`${origin}/page`, (route) => route.fulfill({ contentType: 'text/html', body: `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">${html}` }))
  return openPage(t, context, `${origin}/page`)
}

const script = (code: string) => `<script>${code.replaceAll('</script', '<\\/script')}</script>`
const without = (program: string, ...args: string[]) => !process.env.CI && spawnSync(program, args).error !== undefined && `no ${program} here`
const shown = (page: Page, texts: string[]) => page.waitForFunction(`JSON.stringify([...document.querySelectorAll('li')].map((li) => li.textContent)) === ${JSON.stringify(JSON.stringify(texts))}`)

/** Status and headers of a request whose body nobody reads. */
async function head (url: string, headers: Record<string, string> = {}, method = 'GET') {
  const answer = await fetch(url, { headers, method })
  await answer.body?.cancel()
  return answer
}

t.test('a bearer token', async (t) => {
  const origin = await start(t, 'bearer.mjs')
  t.equal((await head(`${origin}/logs/status`)).status, 401)
  t.equal((await head(`${origin}/logs/status`, { authorization: 'Bearer shut' })).status, 401)
  t.equal((await head(`${origin}/logs/status`, { authorization: 'Bearer open' })).status, 200)
  t.equal((await head(`${origin}/logs/stream`)).status, 200)
})

t.test('a cookie, or a token', async (t) => {
  const code = take('cookie.mjs')
  recipes.set('cookie.mjs', code.replace('60_000', '50'))
  const origin = await start(t, 'cookie.mjs')
  const stream = `${origin}/logs/stream?run_id=7`
  t.equal((await head(stream)).status, 401)
  t.equal((await head(stream, { authorization: 'Bearer open' })).status, 200)
  const cookie = (await head(`${origin}/login`, {}, 'POST')).headers.get('set-cookie')!.split(';')[0]!
  t.equal((await head(`${origin}/logs/stream?run_id=8`, { cookie })).status, 403)
  t.equal((await head(stream, { cookie: cookie.replace('1.', '2.') })).status, 401, 'nobody signed that')
  // A token that is none does not stand for a session that has ended.
  const client = await SseClient.connect(stream, { headers: { cookie, authorization: 'Bearer shut' } })
  await client.until(({ data }) => data.type === 'connected')
  await head(`${origin}/logout`, {}, 'POST')
  t.equal(await client.ended, 'end', 'shown out')
})

t.test('another origin', async (t) => {
  const origin = await start(t, 'cors.mjs')
  const { status, headers } = await head(`${origin}/logs/stream`, { origin: 'https://app.example' })
  t.match([status, headers.get('access-control-allow-origin'), headers.get('access-control-allow-credentials')], [200, 'https://app.example', 'true'])
})

t.test('a policy', async (t) => {
  const origin = await start(t, 'helmet.mjs')
  const { headers } = await head(`${origin}/logs/stream`)
  t.match(headers.get('content-security-policy'), /connect-src 'self'/)
  t.match(headers.get('content-type'), /^text\/event-stream/)
})

t.test('HTTP/2: twenty streams over one connection', { skip: without('openssl', 'version') }, async (t) => {
  const [TLS_KEY, TLS_CERT] = ['key.pem', 'cert.pem'].map((name) => join(folder, name)) as [string, string]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', TLS_KEY, '-out', TLS_CERT, '-days', '2', '-subj', '/CN=localhost'], { stdio: 'ignore' })
  const origin = await start(t, 'http2.mjs', { TLS_KEY, TLS_CERT })
  const session = http2.connect(origin, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  const streams = Array.from({ length: 20 }, () => {
    const stream = session.request({ ':path': '/logs/stream' }).setEncoding('utf8')
    const got = { text: '', stream }
    stream.on('data', (text: string) => { got.text += text })
    return got
  })
  await eventually(() => streams.every(({ text }) => text.includes('connected')))
  await sql`insert into scraper_log (run_id, message) select 1, repeat('x', 1000) || n from generate_series(1, 100) n`
  await eventually(() => streams.every(({ text }) => text.includes('x100"')))
  for (const { text } of streams) t.equal(text.split('"type":"log"').length, 101)
  const ends = streams.map(({ stream }) => once(stream, 'close'))
  for (const { stream } of streams) stream.close()
  await Promise.all(ends)
})

t.test('what an error handler of the host makes of our errors is sent as it is', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const body = { statusCode: 'no', code: 1001, error: { code: 'X' }, message: ['a', null], more: true }
  app.setErrorHandler((error: any, _request, reply) => reply.code(error.statusCode).send(body))
  await app.register(plugin, { connectionString: server.url, table: 'public.scraper_log', stream: { authorize: () => false }, viewer: true })
  for (const path of ['stream', 'stream?run_id=x', 'status', '']) {
    const answer = await app.inject({ url: `/logs/${path}`, headers: { accept: 'text/event-stream' } })
    t.strictSame([answer.statusCode === 400 || answer.statusCode === 403, answer.json()], [true, body])
  }
})

t.test('OpenAPI', async (t) => {
  const origin = await start(t, 'openapi.mjs')
  const { openapi, paths } = await (await fetch(`${origin}/openapi.json`)).json() as any
  t.match(openapi, /^3\./)
  t.same(Object.keys(paths), ['/logs/stream', '/logs/status'])
  t.same(Object.keys(paths['/logs/stream'].get.responses), ['200', '204', '400', '403', '406', '503'])
  const { parameters, responses, summary } = paths['/logs/stream'].get
  t.same(parameters.map(({ name, in: where }: any) => `${where} ${name}`).sort(), ['header last-event-id', 'query after', 'query level', 'query run_id', 'query tail'])
  t.ok(summary)
  t.ok(responses['200'])
  t.match(paths['/logs/status'].get.responses['200'].content['application/json'].schema, { properties: { listener: { type: 'object' } } })
})

t.test('OpenAPI, with a page and metrics: each answer is described, and the files of the page are hidden', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { info: { title: 'Logs', version: '1' } } })
  await app.register(plugin, { connectionString: server.url, table: 'public.scraper_log', stream: { public: true }, viewer: true, metrics: { public: true } })
  await app.ready()
  const paths = app.swagger().paths as Record<string, any>
  t.same(Object.keys(paths).sort(), ['/logs/', '/logs/metrics', '/logs/status', '/logs/stream'])
  for (const [path, { get }] of Object.entries(paths)) {
    t.ok(get.responses['200'] && get.responses['403'], path)
    for (const answer of Object.values<any>(get.responses)) t.ok(answer.description, path)
  }
})

t.test('a trigger of its own', async (t) => {
  await sql.unsafe(take('sql'))
  const origin = await start(t, 'foreign.mjs')
  const status = async () => (await (await fetch(`${origin}/logs/status`)).json()) as any
  await eventually(status, ({ listener, doorbell }) => listener.state === 'listening' && doorbell.installed === 'foreign')
  const client = await SseClient.connect(`${origin}/logs/stream`)
  await client.until(({ data }) => data.type === 'connected')
  await eventually(status, ({ doorbell }) => doorbell.state === 'armed')
  await sql`insert into build_log (run_id, message) values (1, 'built')`
  await client.until(({ data }) => data.message === 'built')
  client.close()
})

t.test('a migration, twice', { skip: without('psql', '--version') }, async (t) => {
  for (let i = 0; i < 2; i++) {
    const { process: shell } = new Program(t, 'sh', ['-ec', take('shell')], { cwd: folder, env: { DATABASE_URL: server.url } })
    t.equal((await once(shell, 'exit'))[0], 0)
  }
})

t.test('nginx lets rows through as they come', { skip: withoutNginx }, async (t) => {
  const socketPath = join(folder, 'nginx.sock')
  const conf = take('nginx.conf').replace('http://127.0.0.1:3000', await start(t, 'cors.mjs'))
  const get = (path: string) => new Promise<http.IncomingMessage | null>((resolve) => {
    http.get({ socketPath, path, agent: false, headers: { 'accept-encoding': 'gzip' } }, resolve).on('error', () => resolve(null))
  })
  const nginx = await runNginx(t, `gzip on; gzip_types *; server { listen unix:${socketPath}; ${conf} }`, async () => (await get('/logs/status'))?.resume().statusCode === 403)
  const stream = (await get('/logs/stream'))!.setEncoding('utf8')
  t.teardown(() => stream.destroy())
  t.equal(stream.headers['content-encoding'], undefined)
  let text = ''
  stream.on('data', (chunk: string) => { text += chunk })
  await eventually(() => text.includes('"connected"'))
  await sql`insert into scraper_log (run_id, message) values (1, 'through nginx')`
  await eventually(() => text.includes('through nginx'))
  t.equal(nginx.exitCode, null)
})

t.test('several nodes behind nginx: a client that comes back goes on where it was, wherever it gets to', { skip: withoutNginx }, async (t) => {
  const nodes = [await launch(t, 'cors.mjs'), await launch(t, 'cors.mjs')]
  const [one, other] = nodes.map(({ origin }) => new URL(origin).host)
  const port = await freePort()
  await runNginx(t, take('nodes.conf').replace('listen 80', `listen 127.0.0.1:${port}`).replace('127.0.0.1:3001', one!).replace('127.0.0.1:3002', other!), () => isOpen(port))
  const got: string[] = []
  let lastEventId = '0'
  const visits = 6
  for (let visit = 0; visit < visits; visit++) {
    await sql`insert into scraper_log (run_id, message) select 31, ${visit} || '/' || n from generate_series(1, 5) n`
    const client = await SseClient.connect(`http://127.0.0.1:${port}/logs/stream?run_id=31`, { headers: { 'last-event-id': lastEventId } })
    await client.until(({ data }) => data.message === `${visit}/5`)
    const rows = client.events.filter(({ data }) => data.type === 'log')
    got.push(...rows.map(({ data }) => data.message))
    lastEventId = rows.at(-1)!.id!
    client.close()
  }
  for (const { app } of nodes) await app.says(/\/logs\/stream\?run_id=31/)
  t.same(got, Array.from({ length: visits }, (_, visit) => [1, 2, 3, 4, 5].map((n) => `${visit}/${n}`)).flat())
})

t.test('PgBouncer', { skip: pgBouncer === null && 'there is no pgbouncer on PATH' }, async (t) => {
  const origin = await start(t, 'pgbouncer.mjs', { POOL_URL: await startPgBouncer(t, pgBouncer!, server.url) })
  const client = await SseClient.connect(`${origin}/logs/stream?run_id=32`)
  await client.until(({ data }) => data.type === 'connected')
  await eventually(async () => (await (await fetch(`${origin}/logs/status`)).json() as any).listener.mode === 'listen')
  await sql`insert into scraper_log (run_id, message) values (32, 'through the pool')`
  await client.until(({ data }) => data.message === 'through the pool')
  const sessions = await sql`select application_name as name from pg_stat_activity where application_name like 'fastify-pg-tail listener%'`
  t.ok(sessions.length > 0)
})

t.test('React', { skip: withoutChromium }, async (t) => {
  const { outputFiles: [bundle] } = await build({
    stdin: {
      contents: `${take('react.jsx')}
        import { StrictMode } from 'react'
        import { createRoot } from 'react-dom/client'
        const root = createRoot(document.body)
        window.show = (run) => root.render(<StrictMode><Log run={run} /></StrictMode>)
        window.show(21)`,
      loader: 'jsx',
      resolveDir: folder
    },
    bundle: true,
    write: false,
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"development"' }
  })
  await sql`insert into scraper_log (run_id, message) values (21, 'one'), (21, 'two'), (22, 'another')`
  const page = await openOwnPage(t, await start(t, 'cors.mjs'), `<body></body>${script(bundle!.text)}`)
  await shown(page, ['one', 'two'])
  await sql`insert into scraper_log (run_id, message) values (21, '<b>three</b>')`
  await shown(page, ['one', 'two', '<b>three</b>'])
  await page.waitForFunction("/^(live|polling)$/.test(document.querySelector('[role=status]').textContent)")
  await page.evaluate('show(22)')
  await shown(page, ['another'])
})

t.test('htmx', { skip: withoutChromium }, async (t) => {
  await sql`insert into scraper_run (id, name, status) values (7, 'a run', 'running')`
  await sql`insert into scraper_log (run_id, message) values (7, 'one'), (8, 'another')`
  const origin = await start(t, 'htmx.mjs')
  const [htmx, extension] = await Promise.all(['htmx.js', 'ext/hx-sse.js'].map((file) => readFile(join(root, 'node_modules/htmx.org/dist', file), 'utf8')))
  const page = await openOwnPage(t, origin, `<body>${script(htmx!)}${script(extension!)}${take('htmx.html')}</body>`)
  await page.evaluate("document.addEventListener('htmx:sse:close', ({ detail }) => { window.ended = detail.reason })")
  await shown(page, ['one'])
  const nasty = '<img src=x onerror="alert(1)">\r\n\r\ndata: x & y'
  await sql`insert into scraper_log (run_id, message) values (7, ${nasty}), (7, ''), (7, 'four')`
  await shown(page, ['one', nasty, '', 'four'])
  t.equal(await page.locator('img').count(), 0)

  const client = await SseClient.connect(`${origin}/runs/7/rows`)
  const { id } = await client.until(({ data }) => data.includes('one'))
  client.close()
  const again = await SseClient.connect(`${origin}/runs/7/rows`, { lastEventId: id! })
  await again.until(({ data }) => data.includes('four'))
  t.equal(again.events.length, 3)
  again.close()
  t.equal((await head(`${origin}/runs/x/rows`, { accept: 'text/event-stream' })).status, 400)

  await sql`insert into scraper_log (run_id, message) values (7, 'last')`
  await sql`update scraper_run set status = 'finished' where id = 7`
  await page.waitForFunction("window.ended === 'message'")
  await shown(page, ['one', nasty, '', 'four', 'last'])
})

t.test('no recipe is left out', async (t) => {
  t.same([...used].sort(), [...recipes.keys()].sort())
  t.equal(marked.length, [...text.matchAll(/^```\w/gm)].length)
})
