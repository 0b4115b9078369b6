// Reading in the viewer: selecting and copying, what is said above the rows, and how a message looks. In a real browser; every wait is for
// something that the page shows.
import t from 'tap'
import { startBrowser, withoutChromium } from './support/browser.ts'
import { eventually } from './support/eventually.ts'
import { startPostgres } from './support/postgres.ts'
import { benchOn, opener } from './support/viewer-bench.ts'
import { inView, messages, shown, state, still } from './support/viewer-page.ts'

// Before the first test: with nothing to do for so long, tap would think that this was all.
const browser = withoutChromium ? null : await startBrowser(t)
const bench = benchOn(await startPostgres(t))

if (browser === null) t.notOk(process.env.CI, String(withoutChromium))
else {
  const open = opener(browser)

  t.test('who selects text is not run away from', async (t) => {
    const { origin, write } = await bench(t)
    await write(Array.from({ length: 100 }, (_, i) => `row ${i}`))
    const page = await open(t, `${origin}/logs/?run_id=7`)
    const jump = page.locator('#jump')
    await shown(page, 'row 99')
    await still(page)
    const at = async (text: string) => (await page.locator('.row', { hasText: text }).locator('.message').boundingBox())!
    const from = await at('row 90')
    const to = await at('row 92')
    await page.mouse.move(from.x + 1, from.y + 8)
    await page.mouse.down()
    await page.mouse.move(to.x + 20, to.y + 8, { steps: 4 })
    await jump.waitFor()
    await write(['newer'])
    await jump.getByText('1 new row').waitFor()
    t.same(await at('row 92'), to, 'it stays below the mouse')
    await page.mouse.up()
    t.match(await page.evaluate('String(getSelection())'), /row 90[^]*row 91/)
    await jump.click()
    await shown(page, 'newer')
    await jump.waitFor({ state: 'hidden' })
    await write(['newest'])
    await page.locator('.row', { hasText: 'newest' }).waitFor()
    await still(page)
    t.ok(await inView(page, '.row', 'newest'), 'it is followed again, whatever is selected')

    // The page is told of both, and not only of where it ends.
    await page.evaluate('getSelection().removeAllRanges(), new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))')
    await page.evaluate("getSelection().selectAllChildren([...document.querySelectorAll('.message')].at(-1))")
    await jump.waitFor()
  })

  t.test('rows that are selected are copied as lines', async (t) => {
    const { origin, write } = await bench(t)
    await write(['one', 'two\n  lines', 'three'])
    const page = await open(t, `${origin}/logs/`)
    await shown(page, 'three')
    const copied = async (from: [number, number], to: [number, number]) => {
      await page.evaluate(`(([a, b], [c, d]) => {
        const texts = [...document.querySelectorAll('.message')].map(({ firstChild }) => firstChild)
        // From ten on: the first text of a row.
        const text = (n) => texts[n] ?? document.querySelectorAll('.row')[n - 10].querySelector('time').firstChild
        getSelection().setBaseAndExtent(text(a), b, text(c), d)
        return navigator.clipboard.writeText('nothing')
      })(${JSON.stringify(from)}, ${JSON.stringify(to)})`)
      await page.keyboard.press('Control+c')
      return eventually(async () => String(await page.evaluate('navigator.clipboard.readText()')), (text) => text !== 'nothing')
    }
    t.match(await copied([0, 1], [1, 3]), /^\S+Z INFO \[7\] one\n\S+Z INFO \[7\] two\n {2}lines\n$/)
    t.match(await copied([2, 1], [0, 1]), /one\n[^]*two\n[^]*three\n$/, 'upwards')
    t.equal(await copied([1, 1], [1, 7]), 'wo\n  l', 'a part of one row')
    t.equal((await copied([0, 0], [11, 0])).trim(), 'one', 'up to the next row')
  })

  t.test('where all can be seen the end is followed', async (t) => {
    const { origin, write } = await bench(t)
    const long = 'x '.repeat(1500)
    await write([long, long, long, 'last'])
    const page = await open(t, `${origin}/logs/?run_id=7`, { width: 1280, height: 400 })
    await shown(page, 'last')
    for (const enlarge of [() => page.setViewportSize({ width: 1280, height: 2000 }), () => page.keyboard.press('w')]) {
      await page.setViewportSize({ width: 1280, height: 400 })
      await still(page)
      await page.keyboard.press('Home')
      await page.locator('#jump').waitFor()
      await enlarge()
      await page.locator('#jump').waitFor({ state: 'hidden' })
    }
  })

  t.test('says that there are others only where there may be', async (t) => {
    let allowed = true
    const { origin, sql, write, app } = await bench(t, { stream: { authorize: () => allowed }, viewer: { public: true } })
    await write(['one', 'two', 'three'])
    await sql`insert into scraper_run (id, name) overriding system value values (8, 'b')`
    await sql`insert into scraper_log (run_id, message) select 8, 'row ' || i from generate_series(1, 2000) i`
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'three')
    const older = page.locator('#older')
    t.equal(await older.textContent(), '')
    await page.goto(`${origin}/logs/?run_id=8`)
    await older.getByText('last 2,000 rows at most. Load all').waitFor({ state: 'attached' })
    await sql`update scraper_run set status = 'finished' where id = 8`
    await state(page, 'ended')
    t.equal(await older.textContent(), '', 'as many as the run has')
    await page.goto(`${origin}/logs/`)
    await older.getByText('last 500 rows at most').waitFor({ state: 'attached' })
    allowed = false
    app.server.closeAllConnections()
    await state(page, 'refused')
    t.equal(await older.textContent(), '')
  })

  t.test('colours, links and matches in one message', async (t) => {
    const { origin, write } = await bench(t)
    const message = 'so \u001b[31mred https://a.example/x_(y)?b=1\u001b[0m (https://b.example/\u001b[32mc\u001b[0m), "https://c.example/d." 10%\r20% javascript:alert(1)'
    const text = 'so red https://a.example/x_(y)?b=1 (https://b.example/c), "https://c.example/d." 10%\n20% javascript:alert(1)'
    await write([message])
    const page = await open(t, `${origin}/logs/?run_id=7`)
    await shown(page, 'so red')
    const row = page.locator('.message')
    t.equal(await row.textContent(), text)
    t.same(await row.locator('.ansi-31').allTextContents(), ['red https://a.example/x_(y)?b=1'])
    const links = await page.evaluate("[...document.querySelectorAll('.message a')].map((a) => [a.getAttribute('href'), a.textContent, a.target, a.rel])") as string[][]
    t.same(links.map(([href]) => href), ['https://a.example/x_(y)?b=1', 'https://c.example/d'], 'none of two colours')
    for (const [href, shown, target, rel] of links) t.same([shown, target, rel], [href, '_blank', 'noopener noreferrer'])
    await page.locator('#find').fill('so red https://A.example/x')
    await page.locator('#found', { hasText: /^1$/ }).waitFor()
    await row.locator('mark').first().waitFor()
    t.same(await row.locator('mark').allTextContents(), ['so ', 'red ', 'https://a.example/x'])
    t.equal(await row.textContent(), text)
    const { height } = (await page.locator('.row').boundingBox())!
    t.ok(height > 40 && height < 50, 'two lines', { height })
    await page.keyboard.press('Escape')
    await page.keyboard.press('c')
    await page.locator('#said', { hasText: '1 row copied' }).waitFor()
    t.match(await page.evaluate('navigator.clipboard.readText()'), ` INFO ${text}\n`)
    t.same(await messages(page), [message], 'saved as it came')
  })

  t.test('the ring of the focus is whole, and a chip stands on the line of what is beside it', async (t) => {
    const { origin, write } = await bench(t)
    await write(['plain'])
    await write(['coloured'], 7, 'ERROR')
    const page = await open(t, `${origin}/logs/`, { width: 360, height: 740 })
    await shown(page, 'coloured')
    const edge = async (text: string) => {
      const { x, y, height } = (await page.locator('.row', { hasText: text }).boundingBox())!
      // One pixel: its bytes are its colour.
      return page.screenshot({ clip: { x, y: y + height / 2, width: 1, height: 1 } })
    }
    t.notSame(await edge('coloured'), await edge('plain'))
    await page.locator('#log').focus()
    await page.keyboard.press('Shift')
    t.same(await edge('coloured'), await edge('plain'))

    const baselines = await page.evaluate(`['time', '.level', '.chip'].map((selector) => {
      const probe = document.createElement('img')
      document.querySelector('.row ' + selector).append(probe)
      const { bottom } = probe.getBoundingClientRect()
      probe.remove()
      return Math.round(bottom)
    })`) as number[]
    t.equal(new Set(baselines).size, 1, String(baselines))
  })
}
