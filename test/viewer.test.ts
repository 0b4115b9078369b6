// The viewer of the package in a real browser, and who gets it. Every wait is for something that the page shows.
import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import fastifyPgTail, { type FastifyPgTailOptions } from '../plugin.ts'
import Fastify from 'fastify'
import { startApp } from './support/app.ts'
import { openPage, startBrowser, withoutChromium } from './support/browser.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'

t.setTimeout(280_000)

/** Far more than a screen of rows has, far fewer than there are. */
const MAX_NODES = 1500

// Before the first test: with nothing to do for so long, tap would think that this was all.
const browser = withoutChromium ? null : await startBrowser(t)
const server = await startPostgres(t)
let databases = 0

async function bench (t: Test, options: Partial<FastifyPgTailOptions> = {}) {
  const url = await createDatabase(t, server, `viewer_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  const node = await startApp(t, { connectionString: url, viewer: true, runs: { table: 'scraper_run', finished: ['finished'] }, heartbeat: 200, retry: 20, ...options })
  const write = (texts: string[], run = 7, level = 'INFO') => sql`insert into scraper_log ${sql(texts.map((message) => ({ run_id: run, level, message })))}`
  return { sql, app: node.app, origin: node.url, write }
}

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
  t.match(page.headers, { 'content-type': 'text/html; charset=utf-8', 'x-content-type-options': 'nosniff', 'content-security-policy': /^default-src 'none'; script-src 'self';/ })
  t.notMatch(page.body, /<script>|style=|https?:\/\/(?!www\.w3\.org)|\{\{/, 'nothing inline, nothing of others')
  for (const [, path] of page.body.matchAll(/(?:href|src)="(assets\/[^"]+)"/g)) t.equal((await get(`/logs/${path}`, {})).statusCode, 200, path!)
  const { headers } = await get('/logs/assets/viewer/main.js')
  t.equal((await get('/logs/assets/viewer/main.js', { 'if-none-match': String(headers.etag) })).statusCode, 304)
  for (const path of ['viewer/main.ts', 'viewer/index.html', '../package.json', 'viewer/../../package.json', '__proto__', 'viewer/', '']) {
    t.equal((await get(`/logs/assets/${path}`)).statusCode, 404, path)
  }
  const { statusCode, headers: { location } } = await get('/logs?run_id=7')
  t.same([statusCode, location], [302, 'logs/?run_id=7'])
})

t.test('a guard of its own, other paths, and no viewer', async (t) => {
  const { app } = await bench(t, {
    prefix: '/a/b',
    stream: { authorize: () => false, path: '/c/d' },
    viewer: { path: '/e', public: true, levels: ['info', '"<b>'] }
  })
  const { statusCode, body } = await app.inject('/a/b/e/')
  t.equal(statusCode, 200)
  t.match(body, 'content="{&quot;stream&quot;:&quot;../c/d&quot;,&quot;levels&quot;:[&quot;info&quot;,&quot;\\&quot;&lt;b>&quot;]}"')
  t.equal((await app.inject('/a/b/')).statusCode, 404)
  const { app: plain } = await bench(t, { viewer: false })
  for (const path of ['/logs/', '/logs/assets/client/tail.js']) t.equal((await plain.inject(path)).statusCode, 404, path)
  for (const viewer of ['yes', 7, { levels: 'INFO' }, { levels: ['a,b'] }, { levels: [''] }, { authorize: true }, { path: 'x' }, { reauthorize: 5 }] as never[]) {
    await t.rejects(async () => { await Fastify().register(fastifyPgTail, { table: 'x', connectionString: 'postgres://127.0.0.1:1/x', viewer }) }, { code: 'FST_PG_TAIL_OPTION', message: /viewer/ })
  }
})

if (browser === null) t.comment(withoutChromium)
else {
  const open = (t: Test, url: string, viewport?: { width: number, height: number }) => openPage(t, browser, url, viewport)

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
    t.same((await rows(page)).map(({ message }) => message), ['one', 'two\n  lines', 'three'])
    await sql`update scraper_run set status = 'finished' where id = 7`
    await state(page, 'ended')
    await page.locator('.note', { hasText: '3 rows' }).waitFor()
    await page.goBack()
    await shown(page, 'other')
    await write(['goes on'], 8)
    await shown(page, 'goes on')
  })

  t.test('levels, by the server, and by keyboard', async (t) => {
    const { origin, write } = await bench(t)
    await write(['bad'], 7, 'ERROR')
    await write(['good'])
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'good')
    for (const key of ['1', '2', '3']) await page.keyboard.press(key)
    await page.waitForURL((url) => url.search === '?run_id=7&level=ERROR')
    await state(page, 'live')
    await write(['unseen'])
    await write(['worse'], 7, 'ERROR')
    await shown(page, 'worse')
    t.same((await rows(page)).map(({ message }) => message), ['bad', 'worse'])
    await page.keyboard.press('0')
    await shown(page, 'unseen')
    t.equal(await page.locator('#levels [aria-pressed="false"]').count(), 0)
  })

  t.test('finds, steps, and marks; the keys and their overview', async (t) => {
    const { origin, write } = await bench(t)
    await write(Array.from({ length: 500 }, (_, i) => `row ${i}${i % 100 === 50 ? ' (Needle+) needle+' : ''}`))
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
      await page.locator('.row[aria-current]', { hasText: text }).waitFor()
      t.ok(await inView(page, '.row[aria-current]'), text)
    }
    t.same(await page.locator('.row[aria-current] mark').allTextContents(), ['Needle+', 'needle+'])
    await page.keyboard.press('Escape')
    await page.locator('mark').first().waitFor({ state: 'detached' })
    await page.keyboard.press('j')
    await page.locator('.row[aria-current]', { hasText: 'row 51' }).waitFor()
    await page.keyboard.press('k')
    await page.locator('.row[aria-current]', { hasText: 'row 50' }).waitFor()
    await page.keyboard.press('e')
    await page.locator('.row[aria-current]', { hasText: 'broken' }).waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor({ state: 'hidden' })
    await page.keyboard.press('g')
    await page.locator('#jump').waitFor()
    await page.locator('.row', { hasText: 'row 0' }).waitFor()
    await page.keyboard.press('G')
    await page.locator('#jump').waitFor({ state: 'hidden' })
    t.equal(await page.getByRole('log', { name: 'Log rows' }).count(), 1)
    await page.keyboard.press('u')
    const [last] = await rows(page).then((all) => all.slice(-1))
    t.equal(await page.locator('.row time').last().textContent(), last!.timestamp.slice(11, 23), 'UTC')
    await page.keyboard.press('w')
    await page.locator('.nowrap').waitFor()
    await page.keyboard.press('t')
    await page.locator('html[data-theme=light]').waitFor({ state: 'attached' })
    const downloading = page.waitForEvent('download')
    await page.keyboard.press('d')
    t.match(await readFile(await (await downloading).path(), 'utf8'), /^\d{4}-\S+Z INFO row 0\n[^]* ERROR broken\n\S+ INFO fine\n$/)
  })

  t.test('a link to a row', async (t) => {
    const { origin, sql, write } = await bench(t)
    await sql`insert into scraper_log (run_id, message) select 7, 'row ' || i || case when i % 7 = 0 then e'\n  two' else '' end from generate_series(1, 9000) i`
    const page = await open(t, `${origin}/logs/?run_id=7&row=4200`)
    await page.locator('.row[aria-current]', { hasText: 'row 4200' }).waitFor()
    t.ok(await inView(page, '.row[aria-current]'))
    await page.locator('#jump').waitFor()
    await write(['newer'])
    await page.locator('#jump', { hasText: 'new row' }).waitFor()
    t.ok(await inView(page, '.row[aria-current]'), 'it stays')
    await page.locator('.row', { hasText: /row 4203/ }).locator('.time').click()
    await page.waitForURL((url) => url.search === '?run_id=7&row=4203')
    await page.locator('.row[aria-current]', { hasText: 'row 4203' }).waitFor()
    await page.reload()
    await page.locator('.row[aria-current]', { hasText: 'row 4203' }).waitFor()
    await page.locator('#jump').click()
    await shown(page, 'newer')
    await page.goto(`${origin}/logs/?run_id=7&row=99999999`)
    await page.locator('#empty', { hasText: 'Waiting' }).waitFor()
  })

  t.test('what strangers wrote stays text', async (t) => {
    const { origin, write } = await bench(t)
    const hostile = ['<img src=x onerror="document.title=1"><script>document.title=1</script>', '</div><style>*{display:none}</style>', '"\'><b>x</b>', '\u202e\u0000 \u001b[31m'.replace('\u0000', '')]
    await write(hostile, 7, '<b onclick=1>')
    const page = await open(t, `${origin}/logs/`)
    await shown(page, 'onerror')
    t.same((await rows(page)).map(({ message }) => message), hostile)
    t.equal(await page.locator('#log img, #log script, #log style, #log b, #levels b').count(), 0)
    await page.locator('#find').fill('<b>')
    await page.locator('mark', { hasText: '<b>' }).first().waitFor()
    t.notOk(await page.evaluate('document.title === "1"'))
    page.removeAllListeners('console')
    const injected = page.waitForEvent('console', (message) => message.text().includes('TrustedHTML'))
    await page.evaluate("try { document.body.innerHTML = '<img src=x>' } catch (error) { console.log(String(error)) }")
    t.ok(await injected, 'the policy is on')
  })

  t.test('refused later; on a phone', async (t) => {
    let allowed = true
    const { origin, write, app } = await bench(t, { stream: { authorize: () => allowed }, viewer: { public: true } })
    await write(['here'])
    const page = await open(t, `${origin}/logs/`, { width: 360, height: 740 })
    await shown(page, 'here')
    t.equal((await page.locator('#toolbar').boundingBox())!.width, 360)
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360, 'nothing is wider than the screen')
    allowed = false
    app.server.closeAllConnections()
    await state(page, 'refused')
    await page.locator('.note', { hasText: 'you may not watch this log' }).waitFor()
    t.same((await rows(page)).map(({ message }) => message), ['here'], 'what was there stays')
  })

  t.test('200,000 rows in one run', async (t) => {
    const { origin, sql, write } = await bench(t)
    await sql`insert into scraper_log (run_id, level, message)
      select 7, (array['DEBUG', 'INFO', 'INFO', 'WARNING', 'ERROR'])[1 + i % 5], 'row ' || i || ': ' || repeat('lorem ipsum dolor ', i % 12) || case when i % 50 = 0 then e'\n    at one\n    at two\n    at three' else '' end
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

    await page.locator('#find').fill('row 123456:')
    await page.locator('#found', { hasText: /^1$/ }).waitFor()
    await page.keyboard.press('Enter')
    await page.locator('.row[aria-current]', { hasText: 'row 123456:' }).waitFor()
    t.ok(await inView(page, '.row[aria-current]'))
    await page.locator('#find').fill('')
    await page.locator('#log').focus()
    await page.keyboard.press('g')
    await page.locator('.row', { hasText: 'row 1:' }).waitFor()
    // From one end to the other, by frames: how long each takes.
    const frames = await page.evaluate(`new Promise((resolve) => {
      const log = document.getElementById('log')
      const times = []
      const step = () => {
        const from = performance.now()
        log.scrollTop += log.scrollHeight / 100
        log.dispatchEvent(new Event('scroll'))
        requestAnimationFrame(() => {
          times.push(performance.now() - from)
          times.length < 100 ? step() : resolve(times.sort((a, b) => a - b))
        })
      }
      step()
    })`) as number[]
    t.comment(`a frame while scrolling: median ${frames[50]!.toFixed(1)} ms, 95 % ${frames[95]!.toFixed(1)} ms`)

    // More than it keeps: the oldest go, and nothing grows.
    await page.keyboard.press('G')
    await sql`insert into scraper_log (run_id, message) select 7, 'more ' || i || repeat(' lorem ipsum', i % 12) from generate_series(1, 40000) i`
    await shown(page, 'more 40000', 200_000)
    await page.locator('#older', { hasText: 'older ones are not shown' }).waitFor({ state: 'attached' })
    const then = await measure()
    t.comment(`and 40,000 more: ${then.heap} MiB, ${then.nodes} elements`)
    t.ok(then.heap < first.heap * 1.25 && then.nodes < MAX_NODES, 'bounded', { first, then })
    t.ok((await rows(page)).length <= 202_000)
  })
}

function state (page: Page, name: string) {
  return page.locator(`#connection[data-state="${name}"]`).waitFor()
}

/** The row is in the page, wherever it is scrolled to. */
function shown (page: Page, text: string, timeout = 40_000) {
  return page.locator('.row .message', { hasText: text }).last().waitFor({ state: 'attached', timeout })
}

/** All that is loaded, as the viewer saves it: of the list, only what can be seen is in the page. */
async function rows (page: Page): Promise<Array<{ id: string, message: string, timestamp: string }>> {
  const downloading = page.waitForEvent('download')
  await page.locator('#log').focus()
  await page.keyboard.press('Shift+D')
  const text = await readFile(await (await downloading).path(), 'utf8')
  return text.split('\n').slice(0, -1).map((line) => JSON.parse(line))
}

async function inView (page: Page, selector: string): Promise<boolean> {
  const [row, log] = await Promise.all([page.locator(selector).last().boundingBox(), page.locator('#log').boundingBox()])
  return row!.y >= log!.y && row!.y + row!.height <= log!.y + log!.height
}
