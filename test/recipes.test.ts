// What docs/recipes.md shows is run as it stands there.

import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { eventually } from './support/eventually.ts'
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
await writeFile(join(own, 'package.json'), '{ "type": "module", "exports": "./index.js" }')
await writeFile(join(own, 'index.js'), `export { default } from ${JSON.stringify(new URL('../plugin.ts', import.meta.url))}`)
await symlink(join(root, 'sql'), join(own, 'sql'))
for (const name of ['fastify', '@fastify']) await symlink(join(root, 'node_modules', name), join(modules, name))

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 1 })
await createDemoTables(sql)
const used = new Set<string>()

function take (name: string): string {
  used.add(name)
  return recipes.get(name)!
}

async function start (t: Test, name: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  await writeFile(join(folder, name), take(name).replaceAll('port: 3000', 'port: 0'))
  const app = new Program(t, process.execPath, ['--import', import.meta.resolve('tsx'), name], {
    cwd: folder, env: { DATABASE_URL: server.url, ADMIN_TOKEN: 'open', COOKIE_SECRET: 'a secret', ...env }
  })
  return (await app.says(/Server listening at (https?:\/\/127\.0\.0\.1:\d+)/))[1]!
}

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
  const client = await SseClient.connect(stream, { headers: { cookie } })
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

t.test('HTTP/2: twenty streams over one connection', { skip: !process.env.CI && spawnSync('openssl', ['version']).status !== 0 && 'no openssl here' }, async (t) => {
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

t.test('OpenAPI', async (t) => {
  const origin = await start(t, 'openapi.mjs')
  const { openapi, paths } = await (await fetch(`${origin}/openapi.json`)).json() as any
  t.match(openapi, /^3\./)
  t.same(Object.keys(paths), ['/logs/stream', '/logs/status'])
  const { parameters, responses, summary } = paths['/logs/stream'].get
  t.same(parameters.map(({ name, in: where }: any) => `${where} ${name}`).sort(), ['header last-event-id', 'query after', 'query level', 'query run_id', 'query tail'])
  t.ok(summary)
  t.ok(responses['200'])
  t.match(paths['/logs/status'].get.responses['200'].content['application/json'].schema, { properties: { listener: { type: 'object' } } })
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

t.test('a migration, twice', { skip: !process.env.CI && spawnSync('psql', ['--version']).status !== 0 && 'no psql here' }, async (t) => {
  for (let i = 0; i < 2; i++) {
    const { process: shell } = new Program(t, 'sh', ['-ec', take('shell')], { cwd: folder, env: { DATABASE_URL: server.url } })
    t.equal((await once(shell, 'exit'))[0], 0)
  }
})

t.test('no recipe is left out', async (t) => {
  t.same([...used].sort(), [...recipes.keys()].sort())
  t.equal(marked.length, [...text.matchAll(/^```\w/gm)].length)
})
