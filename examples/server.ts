// The example app: a database, a scraper that writes to it, and a page that watches.
//
// PORT          3000
// HOST          127.0.0.1
// DATABASE_URL  a PostgreSQL server; without it an embedded one, with throw-away data
// ADMIN_TOKEN   for the status route; without it a random one, printed at start
// DEMO          `off`: no simulated scraper
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import postgres from 'postgres'
import { PAGE_HEADERS } from '../lib/routes/assets.ts'
import fastifyPgTail from '../plugin.ts'
import { runScraper } from './demo/scraper.ts'

/** For `fastify start --options`. */
export const options = {
  // Behind a proxy on the same machine, the log shows who is really there.
  trustProxy: 'loopback'
}

// Two parameters: Fastify takes an async plugin with one for a mistake.
export default async function example (app: FastifyInstance, _options: object): Promise<void> {
  const url = await findDatabase(app)
  const sql = postgres(url, { max: 6, connect_timeout: 5, onnotice: () => {}, connection: { application_name: 'pg-tail example' } })
  app.addHook('onClose', () => sql.end({ timeout: 1 }))
  await sql.unsafe(await readFile(new URL('./demo/tables.sql', import.meta.url), 'utf8'))

  const adminToken = process.env.ADMIN_TOKEN || randomUUID()

  await app.register(fastifyPgTail, {
    connectionString: url,
    table: 'public.scraper_log',
    install: true,
    runs: { table: 'public.scraper_run', id: 'id', status: 'status', finished: ['finished', 'failed'] },
    stream: { public: true },
    viewer: true,
    status: { authorize: (request: FastifyRequest) => hasToken(request, adminToken) }
  })

  await servePage(app)
  serveRuns(app, sql)
  if (process.env.DEMO !== 'off') startScraper(app, sql)

  app.addHook('onListen', async () => greet(app, adminToken))
}

async function findDatabase (app: FastifyInstance): Promise<string> {
  if (process.env.DATABASE_URL) return process.env.DATABASE_URL
  // Loaded only here: with a database of one's own the packaged servers are not needed.
  const { startEmbeddedPostgres } = await import('./embedded-postgres.ts')
  const embedded = await startEmbeddedPostgres()
  // Hooks run in reverse order. This is the first, so the server outlives all that uses it.
  app.addHook('onClose', () => embedded.close())
  return embedded.url
}

/** The digests have one length, so the comparison tells nothing about the token. */
function hasToken (request: FastifyRequest, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(request.headers.authorization ?? ''), digest(`Bearer ${token}`))
}

/** The list of runs; the log beside it is the viewer of the package, which is at /logs/ by itself. Three files, by hand. `@fastify/static` would do it in an app of one's own. */
async function servePage (app: FastifyInstance): Promise<void> {
  const files = [
    { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
    { path: '/page.js', file: 'page.js', type: 'text/javascript; charset=utf-8' },
    { path: '/page.css', file: 'page.css', type: 'text/css; charset=utf-8' }
  ]
  for (const { path, file, type } of files) {
    const content = await readFile(new URL(`./demo/page/${file}`, import.meta.url))
    app.get(path, { logLevel: 'warn' }, async (_request, reply) => {
      reply.headers({ ...PAGE_HEADERS, 'content-type': type })
      return content
    })
  }
}

interface RunRow { id: string, name: string, status: string, started_at: Date, finished_at: Date | null, rows: string }

function serveRuns (app: FastifyInstance, sql: postgres.Sql): void {
  const readRuns = async () => {
    const rows = await sql<RunRow[]>`
      select run.id, run.name, run.status, run.started_at, run.finished_at,
             (select count(*) from public.scraper_log log where log.run_id = run.id) as rows
        from public.scraper_run run order by run.id desc limit 50`
    return rows.map((row) => ({ ...row, id: exact(row.id), rows: exact(row.rows) }))
  }

  // Counting is the dear part. Pages that ask within the same second share one answer.
  let answer: { at: number, runs: ReturnType<typeof readRuns> } | undefined
  // Each page asks every few seconds. The log is for what the plugin has to say.
  app.get('/runs', { logLevel: 'warn' }, async (_request, reply) => {
    const now = performance.now()
    if (!answer || now - answer.at > 1_000) {
      const mine = answer = { at: now, runs: readRuns() }
      // A failure is not kept: the next request asks again.
      mine.runs.catch(() => { if (answer === mine) answer = undefined })
    }
    reply.header('cache-control', 'no-store')
    return answer.runs
  })
}

/** A bigint as a number where that is exact, else as text: as in the stream. */
function exact (bigint: string): number | string {
  const number = Number(bigint)
  return Number.isSafeInteger(number) ? number : bigint
}

function startScraper (app: FastifyInstance, sql: postgres.Sql): void {
  const stop = new AbortController()
  let scraper: Promise<void> | undefined
  app.addHook('onReady', async () => {
    scraper = runScraper(sql, { signal: stop.signal, log: app.log })
  })
  // Before the streams end, so that nothing is written that nobody can see.
  app.addHook('preClose', async () => {
    stop.abort()
    // It marks its runs as failed. With the database gone that would take for ever.
    await Promise.race([scraper, sleep(1_000, undefined, { ref: false })])
  })
}

function greet (app: FastifyInstance, adminToken: string): void {
  // "Every address" is where the server listens, not where a browser can go.
  const origin = app.listeningOrigin.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  // A token that came from outside is a secret of somebody's, and does not belong in a log.
  const token = process.env.ADMIN_TOKEN ? '$ADMIN_TOKEN' : adminToken
  app.log.info([
    'fastify-pg-tail is up',
    '',
    `  Watch    ${origin}/`,
    `  Stream   curl -N "${origin}/logs/stream?tail=10"`,
    `  Status   curl -H "Authorization: Bearer ${token}" ${origin}/logs/status`,
    ''
  ].join('\n'))
}
