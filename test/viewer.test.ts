// The viewer of the package in a real browser, and who gets it. Every wait is for something that the page shows.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import fastifyPgTail, { type FastifyPgTailOptions } from '../plugin.ts'
import Fastify from 'fastify'
import { eventually } from './support/eventually.ts'
import { startBrowser, withoutChromium } from './support/browser.ts'
import { startPostgres } from './support/postgres.ts'
import { benchOn, opener } from './support/viewer-bench.ts'
import { MAX_HEIGHT } from '../viewer/scale.ts'
import { inView, messages, rows, selected, shown, state, still, topOf } from './support/viewer-page.ts'

/** Far more than a screen of rows has, far fewer than there are. */
const MAX_NODES = 1500

// Before the first test: with nothing to do for so long, tap would think that this was all.
const browser = withoutChromium ? null : await startBrowser(t)
const server = await startPostgres(t)
const bench = benchOn(server)

t.test('the page is for whoever may watch, its files are for everybody', async (t) => {
  const seen: unknown[] = []
  const { app } = await bench(t, {
    stream: {
      onRequest: async (request, reply) => { if (request.headers['x-user'] === undefined) return reply.code(401).send({ message: 'who are you?' }) },
      authorize: (request, { run }) => {
        seen.push(run)
        return run === '7'
      }
    }
  })
  const get = (url: string, headers = { 'x-user': 'me' } as Record<string, string>) => app.inject({ url, headers })
  t.equal((await get('/logs/?run_id=7', {})).statusCode, 401)
  t.equal((await get('/logs/')).statusCode, 403)
  t.equal((await get('/logs/?run_id=8')).statusCode, 403)
  t.equal((await get('/logs/?run_id=x')).statusCode, 400)
  const page = await get('/logs/?run_id=7')
  t.equal(page.statusCode, 200)
  t.same(seen, [null, '8', '7'])
  t.match(page.headers, {
    'content-type': 'text/html; charset=utf-8',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
  })
  t.notMatch(page.body, /<script>|style=|https?:\/\/(?!www\.w3\.org)|\{\{/, 'nothing inline, nothing of others')
  t.notMatch(page.body, 'messages.js', 'nothing that no module asks for')
  for (const [, path] of page.body.matchAll(/(?:href|src)="(assets\/[^"]+)"/g)) t.equal((await get(`/logs/${path}`, {})).statusCode, 200, path!)
  const { headers } = await get('/logs/assets/viewer/main.js')
  for (const [tags, status] of [[headers.etag, 304], [`W/${headers.etag}`, 304], [`"x", W/${headers.etag}`, 304], ['"x"', 200]]) {
    t.equal((await get('/logs/assets/viewer/main.js', { 'if-none-match': String(tags) })).statusCode, status, String(tags))
  }
  for (const path of ['viewer/main.ts', 'viewer/index.html', '%2e%2e%2fpackage.json', 'viewer%2f..%2f..%2fpackage.json', '__proto__', 'viewer/', '']) {
    t.equal((await get(`/logs/assets/${path}`)).statusCode, 404, path)
  }
  const { statusCode, headers: { location } } = await get('/logs?run_id=7&x=a?b')
  t.same([statusCode, location], [302, './logs/?run_id=7&x=a?b'])
})

t.test('a guard of its own, other paths, and no viewer', async (t) => {
  const { app } = await bench(t, {
    prefix: '/a/b',
    heartbeat: 20_000,
    stream: { authorize: () => false, path: '/c/d' },
    viewer: { path: '/e', public: true, levels: ['info', '"<b>'] }
  })
  const { statusCode, body } = await app.inject('/a/b/e/')
  t.equal(statusCode, 200)
  t.match(body, 'content="{&quot;stream&quot;:&quot;../c/d&quot;,&quot;timeout&quot;:60000,&quot;levels&quot;:[&quot;info&quot;,&quot;\\&quot;&lt;b>&quot;]}"')
  t.equal((await app.inject('/a/b/')).statusCode, 404)
  const guards: Array<[FastifyPgTailOptions['viewer'], number, string]> = [
    [{ onRequest: undefined, preHandler: [], logLevel: 'warn' }, 401, 'what is no hook is no guard'],
    [{ onRequest: async () => {} }, 200, 'a hook of its own is its guard, whatever it does']
  ]
  for (const [viewer, status, why] of guards) {
    const { app } = await bench(t, { stream: { onRequest: async (_request, reply) => reply.code(401).send() }, viewer: viewer! })
    t.equal((await app.inject('/logs/')).statusCode, status, why)
  }
  const { app: plain } = await bench(t, { viewer: false })
  for (const path of ['/logs/', '/logs/assets/client/tail.js']) t.equal((await plain.inject(path)).statusCode, 404, path)
  for (const viewer of ['yes', 7, { levels: 'INFO' }, { levels: ['a,b'] }, { levels: [''] }, { authorize: true }, { path: 'x' }, { reauthorize: 5 }] as never[]) {
    await t.rejects(async () => { await Fastify().register(fastifyPgTail, { table: 'x', connectionString: 'postgres://127.0.0.1:1/x', viewer }) }, { code: 'FST_PG_TAIL_OPTION', message: /viewer/ })
  }
})

if (browser === null) t.notOk(process.env.CI, String(withoutChromium))
else {
  const open = opener(browser)

  t.test('rows as they come, of all runs and of one; a run ends', async (t) => {
    const { origin, write, sql } = await bench(t)
    await sql`insert into scraper_run (id, name) overriding system value values (7, 'a')`
    await write(['one', 'two\n  lines'])
    await write(['other'], 8, 'odd')
    const page = await open(t, `${origin}/logs`)
    await state(page, 'live')
    await shown(page, 'other')
    t.same(await page.locator('.row .chip').allTextContents(), ['Run 7', 'Run 7', 'Run 8'])
    t.same(await page.locator('#levels button').allTextContents(), ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'odd'])
    await page.locator('.chip', { hasText: 'Run 7' }).first().click()
    await page.waitForURL((url) => url.search === '?run_id=7')
    await page.locator('.row .chip').first().waitFor({ state: 'detached' })
    await write(['three'])
    await shown(page, 'three')
    t.same(await messages(page), ['one', 'two\n  lines', 'three'])
    await sql`update scraper_run set status = 'finished' where id = 7`
    await state(page, 'ended')
    await page.locator('.note', { hasText: '3 rows' }).waitFor()
    await page.goBack()
    await shown(page, 'other')
    await write(['goes on'], 8)
    await shown(page, 'goes on')
    await page.keyboard.press('k')
    await selected(page, 'goes on')
    await page.keyboard.press('Enter')
    await page.waitForURL((url) => url.search === '?run_id=8')
    await page.goto(`${origin}/logs/?run_id=7&row=77`)
    await page.locator('#said', { hasText: 'Row 77 is not here' }).waitFor()
    await state(page, 'ended')
    t.same(await messages(page), ['one', 'two\n  lines', 'three'])
  })

  t.test('behind a proxy that cuts off a part of the path', async (t) => {
    const { origin, write } = await bench(t)
    await write(['through'])
    const proxy = http.createServer((request, response) => {
      const { hostname, port } = new URL(origin)
      request.pipe(http.request({ hostname, port, path: request.url!.replace(/^\/app/, ''), headers: request.headers, method: request.method }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(response)
      }).on('error', () => response.destroy()))
    }).listen(0, '127.0.0.1')
    t.teardown(() => {
      proxy.close()
      proxy.closeAllConnections()
    })
    await once(proxy, 'listening')
    const page = await open(t, `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/app/logs?run_id=7`)
    await page.waitForURL((url) => url.pathname === '/app/logs/')
    await shown(page, 'through')
  })

  t.test('levels, by the server, and by keyboard', async (t) => {
    const { origin, write } = await bench(t)
    await write(['bad'], 7, 'ERROR')
    await write(['odd'], 7, 'a,b')
    await write(['good'])
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'good')
    t.same(await page.locator('#levels button').allTextContents(), ['DEBUG', 'INFO', 'WARNING', 'ERROR'], 'none that the stream would refuse')
    await page.keyboard.press('e')
    await selected(page, 'bad')
    await page.locator('.unseen', { hasText: /^ERROR \d\d:.* bad$/ }).waitFor({ state: 'attached' })
    for (const key of ['1', '2', '3']) await page.keyboard.press(key)
    await page.waitForURL((url) => url.search === '?run_id=7&level=ERROR')
    await page.locator('#older', { hasText: 'Only these levels: ERROR' }).waitFor()
    await state(page, 'live')
    await write(['unseen'])
    await write(['worse'], 7, 'ERROR')
    await shown(page, 'worse')
    t.same(await messages(page), ['bad', 'worse'])
    await page.keyboard.press('0')
    await shown(page, 'unseen')
    t.equal(await page.locator('#levels [aria-pressed="false"]').count(), 0)
  })

  t.test('finds, steps, and marks', async (t) => {
    const { origin, write } = await bench(t)
    await write([`long ${'x '.repeat(15_000)} late`, ...Array.from({ length: 500 }, (_, i) => `row ${i}${i % 100 === 50 ? ' (Needle+) needle+' : ''}`)])
    await write(['broken'], 7, 'ERROR')
    await write(['fine'])
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'fine')
    await page.keyboard.press('/')
    await page.keyboard.type('NEEDLE+')
    await page.locator('#found', { hasText: /^5$/ }).waitFor()
    for (const [key, place, text] of [['Shift+Enter', '5 of 5', 'row 450'], ['Shift+Enter', '4 of 5', 'row 350'], ['Enter', '5 of 5', 'row 450'], ['Enter', '1 of 5', 'row 50']] as const) {
      await page.keyboard.press(key)
      await page.locator('#found', { hasText: place }).waitFor()
      await selected(page, text)
      t.ok(await inView(page, '.row[aria-current]'), text)
    }
    t.same(await page.locator('.row[aria-current] mark').allTextContents(), ['Needle+', 'needle+'])
    await page.locator('#find').fill('late')
    await page.locator('#found', { hasText: /^1$/ }).waitFor()
    await page.keyboard.press('Enter')
    await page.locator('mark', { hasText: 'late' }).waitFor()
    t.ok(await inView(page, 'mark'), 'at the end of a long message')
    await page.locator('#find').fill('/row 4[12]\\d$/')
    await page.locator('#found', { hasText: /^20$/ }).waitFor()
    await page.keyboard.press('Enter')
    await selected(page, 'row 410')
    await page.keyboard.press('Escape')
    await page.locator('mark').first().waitFor({ state: 'detached' })
    await page.keyboard.press('j')
    await selected(page, 'row 411')
    await page.keyboard.press('k')
    await selected(page, 'row 410')
    await page.keyboard.press('e')
    await selected(page, 'broken')
  })

  t.test('keys: what they do, how often, and not at all', async (t) => {
    const { origin, write } = await bench(t)
    await write(Array.from({ length: 100 }, (_, i) => `row ${i}`))
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'row 99')
    t.equal(await page.locator('#view').getByRole('status').count(), 1, 'who listens knows it before it says anything')
    await page.keyboard.press('g')
    await page.locator('#jump').waitFor()
    await page.locator('.row', { hasText: 'row 0' }).waitFor()
    await page.keyboard.down('j')
    await page.keyboard.down('j')
    await page.keyboard.down('j')
    await page.keyboard.up('j')
    await selected(page, /row 2$/)
    await page.keyboard.press('c')
    await page.locator('#said', { hasText: '100 rows copied' }).waitFor()
    t.match(await page.evaluate('navigator.clipboard.readText()'), /^\S+Z INFO row 0\n[^]*\S+Z INFO row 99\n$/)
    const { id } = (await rows(page))[2]!
    await page.keyboard.press('y')
    await page.locator('#said', { hasText: `row ${id} is copied` }).waitFor()
    t.equal(await page.evaluate('navigator.clipboard.readText()'), `${origin}/logs/?run_id=7&row=${id}`)
    await page.keyboard.press('G')
    await page.locator('#jump').waitFor({ state: 'hidden' })
    // There is nothing above until it has gone down.
    await still(page)
    // The first is smooth, which begins as the second does.
    for (const up of [() => page.keyboard.press('PageUp'), () => page.evaluate("document.getElementById('log').scrollTop -= 3")]) {
      await up()
      await page.locator('#jump').waitFor()
      await still(page)
      await page.keyboard.press('G')
      await page.locator('#jump').waitFor({ state: 'hidden' })
      await still(page)
    }
    t.equal(await page.getByRole('log', { name: 'Log rows' }).count(), 1)
    const last = (await rows(page)).at(-1)!
    // Around midnight it begins with the day.
    const time = async () => (await page.locator('.row time').last().textContent())!.slice(-12)
    t.not(await time(), last.timestamp!.slice(11, 23), 'in Tokyo')
    await page.keyboard.press('u')
    await page.locator('#utc[aria-pressed=true]').waitFor()
    t.equal(await time(), last.timestamp!.slice(11, 23), 'UTC')
    await page.keyboard.press('t')
    await page.locator('.pg-tail[data-theme=light]').waitFor()

    const names: string[] = []
    page.on('download', (download) => names.push(download.suggestedFilename()))
    const downloading = page.waitForEvent('download')
    await page.keyboard.down('d')
    await page.keyboard.down('d')
    await page.keyboard.up('d')
    t.match(await readFile(await (await downloading).path(), 'utf8'), /^\d{4}-\S+Z INFO row 0\n[^]* INFO row 99\n$/)
    await rows(page)
    t.same(names.map((name) => name.split('.')[1]), ['log', 'jsonl'], 'a key that is held down downloads once')

    await page.keyboard.press('?')
    const help = page.getByRole('dialog', { name: 'Keyboard' })
    await help.getByRole('checkbox').uncheck()
    await page.keyboard.press('Escape')
    await help.waitFor({ state: 'hidden' })
    await page.locator('#log').focus()
    await page.keyboard.press('?')
    await page.keyboard.press('ArrowUp')
    await selected(page, /row 1$/)
    t.notOk(await help.isVisible(), 'keys of one character are off')
    await page.locator('#keyboard').click()
    await help.getByRole('checkbox').check()
    await page.keyboard.press('Escape')
    await page.locator('#log').focus()
    await page.keyboard.press('?')
    await help.waitFor()
  })

  t.test('a link to a row', async (t) => {
    const { origin, sql, write } = await bench(t)
    await sql`insert into scraper_log (run_id, message) select 7, 'row ' || i || case when i % 7 = 0 then e'\n  two' else '' end from generate_series(1, 9000) i`
    const page = await open(t, `${origin}/logs/?run_id=7&row=4200`)
    await selected(page, 'row 4200')
    t.ok(await inView(page, '.row[aria-current]'))
    await page.locator('#jump').waitFor()
    await eventually(async () => (await rows(page)).length, (loaded) => loaded === 6800)
    const unread = Number((await page.locator('#jump').textContent())!.replace(/\D/g, ''))
    const before = await topOf(page, /row 4200/)
    await write(['newer'])
    await page.locator('#jump', { hasText: `${(unread + 1).toLocaleString('en')} new row` }).waitFor()
    t.equal(await topOf(page, /row 4200/), before, 'it stays')
    await page.locator('.row', { hasText: /row 4203/ }).locator('.time').click()
    await page.waitForURL((url) => url.search === '?run_id=7&row=4203')
    await selected(page, 'row 4203')
    t.equal(await page.evaluate('document.activeElement.id'), 'log', 'the focus is not lost')
    await page.reload()
    await selected(page, 'row 4203')
    await page.locator('#jump').click()
    await shown(page, 'newer')
    await page.goto(`${origin}/logs/?run_id=7&row=99999999`)
    await page.locator('#said', { hasText: 'Row 99999999 is not here' }).waitFor()
    await page.waitForURL((url) => url.search === '?run_id=7')
    await shown(page, 'newer')
    t.equal((await rows(page)).length, 2000, 'as without the row: no table was started afresh')
    await write(['short'], 8)
    await page.goto(`${origin}/logs/?run_id=8&row=9002`)
    await selected(page, 'short')
    await write(Array.from({ length: 100 }, (_, i) => `more ${i}`), 8)
    await page.locator('.row', { hasText: 'more 99' }).waitFor()
    await still(page)
    t.ok(await inView(page, '.row', 'more 99'), 'what fits the view is followed')
  })

  t.test('the place stays, also in the middle of a tall row', async (t) => {
    const { origin, write } = await bench(t)
    const lines = Array.from({ length: 200 }, (_, i) => `line ${i}`).join('\n')
    const long = 'x '.repeat(1500)
    await write([`tall before ${long}`, `tall\n${lines}`, ...Array.from({ length: 100 }, () => long), ...Array.from({ length: 20 }, (_, i) => `row ${i}`)])
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'row 19')
    const height = async () => {
      await still(page)
      return await page.evaluate("document.getElementById('log').scrollHeight") as number
    }
    const wrapped = await height()
    await page.keyboard.press('w')
    await page.locator('.nowrap').waitFor()
    t.ok(await height() < wrapped / 2, 'lines that do not wrap are fewer')
    await page.keyboard.press('w')
    await page.locator('.nowrap').waitFor({ state: 'detached' })
    t.ok(Math.abs(await height() / wrapped - 1) < 0.1, 'and wrap again as they did, also those that are not seen')
    await page.keyboard.press('g')
    await page.locator('#jump').waitFor()
    await still(page)
    await page.evaluate("document.getElementById('log').scrollTop = 3000")
    const before = await topOf(page, 'line 199')
    t.ok(before < -1500)
    const same = async (name: string) => t.ok(Math.abs(await topOf(page, 'line 199') - before) < 3, name)
    await page.setViewportSize({ width: 1150, height: 800 })
    await same('another width')
    await page.keyboard.press('w')
    await page.locator('.nowrap').waitFor()
    await same('lines that do not wrap')
    await page.keyboard.press('/')
    await page.keyboard.type('row')
    await page.locator('#found', { hasText: '20' }).waitFor()
    await same('a search')
    await page.keyboard.press('Escape')
    await page.keyboard.press('u')
    await same('another zone')
  })

  t.test('a table that begins anew', async (t) => {
    const { origin, sql, write } = await bench(t)
    await write(['old'])
    const page = await open(t, `${origin}/logs/`)
    await shown(page, 'old')
    await sql`truncate scraper_log restart identity`
    await write(['new'])
    await shown(page, 'new')
    t.same(await messages(page), ['new'])
    t.equal(await page.locator('.note').count(), 1)
    t.equal(await page.locator('#older').textContent(), '')
  })

  t.test('what comes and goes is noted once', async (t) => {
    const { origin } = await bench(t)
    const page = await open(t, `${origin}/logs/`)
    const mode = (mode: string, type = 'mode') => `data: ${JSON.stringify({ type, mode, message: `by ${mode}` })}\n\n`
    const row = { type: 'log', id: 1, run_id: 7, level: 'INFO', timestamp: null, message: 'after them' }
    const body = `${mode('listen', 'connected')}${mode('poll')}${mode('listen')}${mode('poll')}id: 1\ndata: ${JSON.stringify(row)}\n\n`
    await page.route(/\/stream\?/, (route) => route.fulfill({ contentType: 'text/event-stream', body }))
    await page.reload()
    await shown(page, 'after them')
    t.same(await page.locator('.note').allTextContents(), ['by poll'])
  })

  t.test('what strangers wrote stays text', async (t) => {
    const { origin, write } = await bench(t)
    const hostile = ['<img src=x onerror="globalThis.caught=1"><script>globalThis.caught=1</script>', '</div><style>*{display:none}</style>', '"\'><b>x</b>', '\u202e \u001b[31mred']
    await write(hostile, 7, '<b onclick=1>')
    const page = await open(t, `${origin}/logs/`)
    await shown(page, 'onerror')
    t.same(await messages(page), hostile)
    t.equal(await page.locator('.message').last().textContent(), '\u202e red')
    t.equal(await page.locator('#log img, #log script, #log style, #log b, #levels b').count(), 0)
    await page.locator('#find').fill('<b>')
    await page.locator('mark', { hasText: '<b>' }).first().waitFor()
    t.equal(await page.evaluate('typeof caught'), 'undefined')
    page.removeAllListeners('console')
    const injected = page.waitForEvent('console', (message) => message.text().includes('TrustedHTML'))
    await page.evaluate("try { document.body.innerHTML = '<img src=x>' } catch (error) { console.log(String(error)) }")
    t.ok(await injected, 'the policy is on')
  })

  t.test('polled, and refused later; on a phone', async (t) => {
    let allowed = true
    const { origin, write, app } = await bench(t, { install: false, pollInterval: 50, stream: { authorize: () => allowed }, viewer: { public: true } }, 'polling')
    await write(['here'])
    const page = await open(t, `${origin}/logs/`, { width: 360, height: 740 })
    await state(page, 'polling')
    await page.locator('#state-message', { hasText: 'polling' }).waitFor()
    await shown(page, 'here')
    t.equal((await page.locator('#toolbar').boundingBox())!.width, 360)
    const wide = () => page.evaluate("Math.max(document.documentElement.scrollWidth, document.getElementById('toolbar').scrollWidth)")
    t.equal(await wide(), 360, 'nothing is wider than the screen')
    const downloading = page.waitForEvent('download')
    await page.locator('#json').click()
    t.match(await readFile(await (await downloading).path(), 'utf8'), /^\{"id":1,.*"message":"here"\}\n$/, 'without a key')
    await page.locator('#find').fill('he')
    await page.locator('#found', { hasText: /^1$/ }).waitFor()
    t.ok((await page.locator('#find').boundingBox())!.width > 200, 'room for what is looked for')
    t.equal(await wide(), 360)
    await page.keyboard.press('Escape')
    allowed = false
    app.server.closeAllConnections()
    await state(page, 'refused')
    await page.locator('#state-message', { hasText: 'you may not watch this log' }).waitFor()
    await page.locator('.note', { hasText: 'you may not watch this log' }).waitFor()
    t.same(await messages(page), ['here'], 'what was there stays')
  })

  t.test('200,000 rows in one run', async (t) => {
    const { origin, sql, write } = await bench(t)
    await sql`insert into scraper_log (run_id, level, message)
      select 7, (array['DEBUG', 'INFO', 'INFO', 'WARNING', 'ERROR'])[1 + i % 5], 'row ' || i || ': ' || repeat('lorem ipsum dolor ', i % 12) || case when i % 20 = 0 then e'\n    at one\n    at two\n    at three' else '' end
      from generate_series(1, 200000) i`
    const page = await open(t, `${origin}/logs/?run_id=7&tail=all`)
    await shown(page, 'row 200000:', 200_000)
    await write(['the newest'])
    await shown(page, 'the newest')
    const devtools = await page.context().newCDPSession(page)
    const measure = async () => {
      await devtools.send('HeapProfiler.collectGarbage')
      const { usedSize } = await devtools.send('Runtime.getHeapUsage')
      return { heap: Math.round(usedSize / 2 ** 20), nodes: await page.evaluate("document.querySelectorAll('*').length") as number }
    }
    const first = await measure()
    t.comment(`200,000 rows: ${first.heap} MiB, ${first.nodes} elements`)
    t.ok(first.heap < 160, 'memory', first)
    t.ok(first.nodes < MAX_NODES, 'elements', first)
    t.equal(await page.evaluate("Math.round(document.getElementById('log').scrollHeight)"), MAX_HEIGHT, 'higher than a browser can')

    await page.locator('#find').fill('row 123456:')
    await page.locator('#found', { hasText: /^1$/ }).waitFor()
    await page.keyboard.press('Enter')
    await selected(page, 'row 123456:')
    t.ok(await inView(page, '.row[aria-current]'))
    await page.locator('#find').fill('')
    const before = await topOf(page, 'row 123456:')
    await page.evaluate("document.getElementById('log').scrollTop -= 200")
    t.ok(Math.abs(await topOf(page, 'row 123456:') - before - 200) < 3, 'a small scroll goes as far as anywhere')
    await page.locator('#log').focus()
    await page.keyboard.press('g')
    await page.locator('.row', { hasText: 'row 1:' }).waitFor()
    // From one end to the other: what is seen is always full, and of few elements.
    const steps = await page.evaluate(`new Promise((resolve) => {
      const log = document.getElementById('log')
      const steps = []
      const step = () => {
        log.scrollTop = log.scrollHeight * steps.length / 100
        requestAnimationFrame(() => requestAnimationFrame(() => {
          const view = log.getBoundingClientRect()
          const rows = [...log.querySelectorAll('.row')].map((row) => row.getBoundingClientRect())
          steps.push({ full: rows[0].top <= view.top + 40 && rows.at(-1).bottom >= view.bottom - 20, nodes: document.querySelectorAll('*').length })
          if (steps.length <= 100) step()
          else resolve(steps)
        }))
      }
      step()
    })`) as Array<{ full: boolean, nodes: number }>
    t.same(steps.filter(({ full, nodes }) => !full || nodes > MAX_NODES), [])
    t.ok(await inView(page, '.row', 'the newest'), 'the end is the end')

    // More than it keeps: the oldest go, and nothing grows.
    await page.keyboard.press('G')
    await sql`insert into scraper_log (run_id, message) select 7, 'more ' || i || repeat(' lorem ipsum', i % 12) from generate_series(1, 40000) i`
    await shown(page, 'more 40000', 200_000)
    await page.locator('#older', { hasText: 'Older rows are not shown' }).waitFor({ state: 'attached' })
    const then = await measure()
    t.comment(`and 40,000 more: ${then.heap} MiB, ${then.nodes} elements`)
    t.ok(then.heap < first.heap * 1.25 && then.nodes < MAX_NODES, 'bounded', { first, then })
    const kept = await messages(page)
    t.ok(kept.length >= 200_000 && kept.length <= 202_000, 'as many as it says', { length: kept.length })
    t.match(kept.at(-1), /^more 40000/)
  })
}
