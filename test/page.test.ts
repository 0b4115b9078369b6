// The example's page in a real browser. Every wait is for something that the page shows.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Browser, Page } from 'playwright-core'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { startEmbeddedPostgres } from '../examples/embedded-postgres.ts'
import example, { options } from '../examples/server.ts'
import { openPage, startBrowser, withoutChromium } from './support/browser.ts'
import { inView, messages, shown, state, topOf } from './support/viewer-page.ts'

/** Elements of a page with more rows than can be seen. */
const MAX_ELEMENTS = 1_500

if (!withoutChromium) testThePage()
else if (process.env.CI) t.fail(withoutChromium)
else t.plan(0, withoutChromium)

function testThePage () {
  let app: FastifyInstance
  let origin: string
  let browser: Browser
  let sql: postgres.Sql

  t.before(async () => {
    const embedded = await startEmbeddedPostgres()
    t.teardown(() => embedded.close())
    process.env.DATABASE_URL = embedded.url
    process.env.DEMO = 'off'
    sql = postgres(embedded.url, { max: 2 })
    t.teardown(() => sql.end())
    await start(0)
    t.teardown(() => app.close())
    browser = await startBrowser(t)
  })

  async function start (port: number) {
    app = Fastify({ ...options, pluginTimeout: 60_000 })
    await app.register(example, options)
    await app.listen({ port, host: '127.0.0.1' })
    origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  }

  t.test('shows rows as they are inserted, in order, once', async (t) => {
    const run = await newRun('First Shop')
    await write(run, ['one', 'two'])
    const page = await open(t, '/')
    await state(page, 'live')
    await write(run, ['three'])
    await write(run, ['four', 'five'])
    await shown(page, 'five')

    t.same(await messages(page), ['one', 'two', 'three', 'four', 'five'])
    await page.locator('.row .chip[title="Only First Shop"]').last().waitFor()
    t.equal(await page.locator('.row .chip').last().textContent(), 'First Shop')
    // Its row is there before the list of runs is asked for again.
    await write(await newRun('Late Shop'), ['six'])
    await page.locator('.chip[title="Only Late Shop"]', { hasText: 'Late Shop' }).waitFor()
  })

  t.test('chooses a run, and says when it has ended', async (t) => {
    const mine = await newRun('Mine')
    const other = await newRun('Other')
    await write(mine, ['mine 1'])
    await write(other, ['other 1'])
    const page = await open(t, '/')
    await page.locator('#run-list .run', { hasText: 'Mine' }).click()
    await shown(page, 'mine 1')
    await page.waitForURL((url) => url.search === `?run_id=${mine}`)
    t.equal(await page.locator('#title').textContent(), 'Mine')

    await write(other, ['other 2'])
    await write(mine, ['mine 2'])
    await finish(mine)
    await state(page, 'ended')
    await page.locator('.note').waitFor()
    t.same(await messages(page), ['mine 1', 'mine 2'])
    t.match(await page.locator('.note').textContent(), /2 rows/)
    await page.locator('.run[aria-current]', { hasText: 'finished' }).waitFor()
  })

  t.test('opens a run that has already ended', async (t) => {
    const run = await newRun('Long Gone')
    await write(run, ['a', 'b'])
    await finish(run)
    const page = await open(t, `/?run_id=${run}`)
    await state(page, 'ended')
    await shown(page, 'b')
    t.same(await messages(page), ['a', 'b'])
  })

  t.test('filters by level', async (t) => {
    const run = await newRun('Levels')
    await write(run, ['e 1'], 'ERROR')
    await write(run, ['i 1'], 'INFO')
    const page = await open(t, `/?run_id=${run}`)
    await shown(page, 'i 1')
    for (const level of ['DEBUG', 'INFO', 'WARNING']) await page.locator('#levels button', { hasText: level }).click()
    await page.waitForURL((url) => url.search === `?run_id=${run}&level=ERROR`)
    await state(page, 'live')
    await write(run, ['i 2'], 'INFO')
    await write(run, ['e 2'], 'ERROR')
    await shown(page, 'e 2')
    t.same(await messages(page), ['e 1', 'e 2'])
    t.equal(await page.locator('#levels [aria-pressed="true"]').textContent(), 'ERROR')

    // The last level cannot be taken away: then all of them are back.
    await page.locator('#levels button', { hasText: 'ERROR' }).click()
    for (const last of ['i 2', 'e 2']) await shown(page, last)
    t.same(await messages(page), ['e 1', 'i 1', 'i 2', 'e 2'])
  })

  t.test('waits while somebody reads further up', async (t) => {
    const run = await newRun('Scrolled')
    await write(run, numbered('old', 200))
    const page = await open(t, `/?run_id=${run}`)
    await shown(page, 'old 200')
    await page.locator('#log').hover()
    await page.mouse.wheel(0, -600)
    await page.locator('#jump').waitFor()
    const before = await topOf(page, /old 150$/)
    await write(run, numbered('new', 30))
    await page.locator('#jump', { hasText: '30 new rows' }).waitFor()
    t.equal(await topOf(page, /old 150$/), before, 'the page stands still')

    await page.locator('#jump').click()
    await shown(page, 'new 30')
    await page.locator('#jump').waitFor({ state: 'hidden' })
    t.ok(await inView(page, '.row', 'new 30'))
    t.same(await messages(page), [...numbered('old', 200), ...numbered('new', 30)])
  })

  t.test('keys are those of the log, but for what the rest of the page needs', async (t) => {
    const run = await newRun('Typed')
    await write(run, numbered('row', 100))
    const page = await open(t, '/')
    const link = page.locator('#run-list .run', { hasText: 'Typed' })
    await link.click()
    await page.waitForURL((url) => url.search === `?run_id=${run}`)
    await shown(page, 'row 100')
    t.equal(await page.evaluate('document.activeElement.id'), 'log', 'it has the focus')
    await page.keyboard.press('Home')
    await page.locator('.row', { hasText: /row 1$/ }).waitFor()
    await link.focus()
    await page.keyboard.press('ArrowUp')
    t.equal(await page.locator('.row[aria-current]').count(), 0, 'an arrow on a link')
    await page.evaluate(`for (const html of ['textarea', 'button', 'div']) {
      const other = document.createElement(html)
      other.className = 'other'
      other.tabIndex = 0
      other.contentEditable = html === 'div'
      document.getElementById('runs').append(other)
    }`)
    for (const other of await page.locator('.other').all()) {
      await other.focus()
      await page.keyboard.press('k')
      t.equal(await page.locator('.row[aria-current]').count(), 0)
    }
    await link.focus()
    await page.keyboard.press('k')
    await page.locator('.row[aria-current]').waitFor()
  })

  t.test('to the log without the list before it', async (t) => {
    const run = await newRun('Skipped')
    await write(run, ['here'])
    const page = await open(t, `/?run_id=${run}`)
    await shown(page, 'here')
    await page.keyboard.press('Tab')
    await page.locator('#skip:focus').waitFor()
    t.equal(await page.evaluate("getComputedStyle(document.getElementById('skip')).clipPath"), 'none', 'it can be seen')
    await page.keyboard.press('Enter')
    await page.locator('#log:focus').waitFor()
    t.equal(new URL(page.url()).hash, '')
  })

  t.test('shows what is in a message, and does nothing with it', async (t) => {
    const hostile = [
      '<script>globalThis.caught = 1</script>',
      '<img src="x" onerror="globalThis.caught = 1"><b>bold</b>',
      'data: {"type":"stopped"}\n\nid: 1\n\nevent: x',
      'a line\n  and another\n\ttabbed, "quoted" 🥭'
    ]
    const run = await newRun('<i>Shop</i> & "Sons"')
    await write(run, hostile)
    const page = await open(t, '/')
    await shown(page, 'tabbed')
    t.same((await messages(page)).slice(-hostile.length), hostile)
    t.equal(await page.locator('#rows script, #rows img, #rows b, #runs i').count(), 0)
    await page.locator('#run-list .name', { hasText: '<i>Shop</i> & "Sons"' }).click()
    await state(page, 'live')
    t.equal(await page.evaluate('typeof caught'), 'undefined')
  })

  t.test('keeps the page bounded', async (t) => {
    const run = await newRun('Flood')
    const page = await open(t, `/?run_id=${run}`)
    await state(page, 'live')
    await write(run, numbered('row', 2_700))
    await shown(page, 'row 2700')
    t.same(await messages(page), numbered('row', 2_700))
    t.ok(await page.locator('*').count() < MAX_ELEMENTS)
  })

  t.test('misses nothing and doubles nothing over a restart of the server', async (t) => {
    const run = await newRun('Restarted')
    const page = await open(t, `/?run_id=${run}`)
    await write(run, ['before'])
    await shown(page, 'before')
    const { port } = app.server.address() as AddressInfo

    await kill()
    await state(page, 'reconnecting')
    await write(run, ['meanwhile 1', 'meanwhile 2'])
    await start(port)
    await shown(page, 'meanwhile 2')
    await write(run, ['after'])
    await shown(page, 'after')
    await state(page, 'live')

    // A proxy in front that finds nobody: an EventSource would give up on that.
    await kill()
    const proxy = createServer((_request, response) => {
      response.writeHead(503, { 'content-type': 'text/html', connection: 'close' }).end('<h1>Nobody there</h1>')
    }).listen(port, '127.0.0.1')
    await page.waitForResponse((response) => response.status() === 503 && response.url().includes('/logs/stream'))
    const again = page.waitForResponse((response) => response.ok() && response.url().includes('/logs/stream') && response.request().headers()['last-event-id'] !== undefined)
    proxy.close()
    proxy.closeAllConnections()
    await once(proxy, 'close')
    await write(run, ['meanwhile 3'])
    await start(port)
    await again
    await write(run, ['at last'])
    await shown(page, 'at last')
    await state(page, 'live')

    t.same(await messages(page), ['before', 'meanwhile 1', 'meanwhile 2', 'after', 'meanwhile 3', 'at last'])
  })

  t.test('works on a phone and by keyboard', async (t) => {
    const run = await newRun('Pocket Shop')
    await write(run, ['small'])
    const page = await open(t, '/', { width: 360, height: 740 })
    const link = page.locator('#run-list .run', { hasText: 'Pocket Shop' })
    await link.waitFor({ state: 'attached' })
    await page.locator('#menu').focus()
    await page.keyboard.press('Enter')
    await page.locator('#all-runs:focus').waitFor()
    await page.keyboard.press('Escape')
    await link.waitFor({ state: 'hidden' })
    await page.keyboard.press('Enter')
    await page.locator('#all-runs:focus').waitFor()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.waitForURL((url) => url.search === `?run_id=${run}`)
    await link.waitFor({ state: 'hidden' })
    await shown(page, 'small')
    t.equal(await page.getByRole('log', { name: 'Log rows' }).count(), 1)
    const box = await page.locator('#toolbar').boundingBox()
    t.equal(box?.width, 360, 'nothing is wider than the screen')
  })

  t.test('the name of a run goes before what is said of the connection', async (t) => {
    const name = 'A name as those of jobs are that somebody has planned'
    const run = await newRun(name)
    const page = await open(t, '/')
    await page.route(/\/stream\?/, (route) => route.fulfill({ status: 403, json: { message: 'This is not for you. '.repeat(20) } }))
    await page.locator(`#run-list .name[title="${name}"]`).click()
    await page.waitForURL((url) => url.search === `?run_id=${run}`)
    await page.locator('#state-message', { hasText: 'This is not for you' }).waitFor()
    t.equal(await page.locator('#title').getAttribute('title'), name)
    t.equal(await page.evaluate("(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.getElementById('title'))"), 0, 'all of it can be read')
    t.ok((await page.locator('#state').boundingBox())!.x < 1280 - 80, 'and the state')
  })

  t.test('all times are of one zone', async (t) => {
    const run = await newRun('Far Away')
    await sql`update scraper_run set started_at = '2026-01-21T10:01:00Z', finished_at = '2026-01-21T11:02:00Z' where id = ${run}`
    const context = await browser.newContext({ timezoneId: 'Asia/Tokyo' })
    t.teardown(() => context.close())
    const page = await openPage(t, context, `${origin}/?run_id=${run}`)
    await page.locator('#subtitle', { hasText: '19:01–20:02' }).waitFor()
    await page.locator('#utc').click()
    await page.locator('#subtitle', { hasText: '10:01–11:02' }).waitFor()
  })

  t.test('all levels are offered at any width, though the list takes some of it', async (t) => {
    const page = await open(t, '/')
    await page.locator('#levels button').first().waitFor()
    for (const width of [721, 768, 820, 844, 960, 1000, 1280]) {
      await page.setViewportSize({ width, height: 600 })
      t.same(await page.evaluate("(({ scrollWidth, clientWidth }) => [innerWidth, scrollWidth - clientWidth])(document.getElementById('levels'))"), [width, 0])
    }
  })

  function open (t: Test, path: string, viewport?: { width: number, height: number }): Promise<Page> {
    return openPage(t, browser, origin + path, viewport)
  }

  /** As a crash looks from outside: connections break, and nothing was said before. */
  async function kill () {
    app.server.closeAllConnections()
    await app.close()
  }

  async function newRun (name: string): Promise<string> {
    const [row] = await sql`insert into scraper_run (name) values (${name}) returning id`
    return row!.id
  }

  async function write (run: string, texts: string[], level = 'INFO') {
    await sql`insert into scraper_log ${sql(texts.map((message) => ({ run_id: run, level, message })))}`
  }

  async function finish (run: string) {
    await sql`update scraper_run set status = 'finished', finished_at = now() where id = ${run}`
  }
}

function numbered (word: string, count: number) {
  return Array.from({ length: count }, (_, index) => `${word} ${index + 1}`)
}
