// The browser's client in a real browser, against real nodes: what a tab gets. `test/client-leaders.test.ts` has what tabs do among
// themselves. Every wait is for something that a tab has got.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { openPage, withoutChromium } from './support/browser.ts'
import { eventually } from './support/eventually.ts'
import { SseClient } from './support/sse-client.ts'
import { Bench, numbered, Refusal } from './support/tabs.ts'

if (withoutChromium) t.plan(0, withoutChromium)
else {
  const bench = await Bench.prepare(t)

  t.test('rows of before, rows as they come, and where it is by then', async (t) => {
    const b = await bench(t)
    await b.write(['one', 'two', 'three'])
    const tab = await b.tab({ tail: 2 })
    await tab.is('live')
    await b.write(['four'])
    await b.write(['not mine'], 8)
    await b.write(['five'])
    const { texts, cursor, states } = await tab.has('five')
    t.same(texts, ['two', 'three', 'four', 'not mine', 'five'])
    t.equal(cursor, '6')
    t.same(states, ['live'])
    t.equal(await tab.page.evaluate('handle.cursor'), '6')

    const other = await b.tab({ run: 7, level: ['INFO', 'ERROR'], after: '1' })
    t.same((await other.has('five')).texts, ['two', 'three', 'four', 'five'])
    await b.write(['for others'], 8)
    await other.until('handle.cursor === "7"')
    t.pass('a heartbeat moves the cursor without a row')
    await other.page.evaluate('handle.close()')
    t.equal((await other.seen()).states.at(-1), 'closed')
    await eventually(() => b.connections === 1)
  })

  t.test('a restart of the server, and a proxy that finds nobody meanwhile', async (t) => {
    const b = await bench(t)
    const tab = await b.tab({ tail: 10 })
    await tab.is('live')
    await b.write(['before'])
    await tab.has('before')
    const port = await b.kill()
    await tab.is('reconnecting')
    const proxy = new Refusal(port, '502 Bad Gateway')
    await eventually(() => proxy.asked > 1)
    t.match((await tab.until('seen.message.includes("502")')).message, 'The server answered 502')
    await proxy.close()
    await b.write(numbered('meanwhile', 50))
    await b.serve(port)
    await b.write(['after'])
    t.same((await tab.has('after')).texts, ['before', ...numbered('meanwhile', 50), 'after'])
    await tab.is('live')
  })

  t.test('503, then served', async (t) => {
    const b = await bench(t, { maxSubscribers: 1 })
    const first = await SseClient.connect(`${b.node.url}/logs/stream`)
    await b.write(['early'])
    const tab = await b.tab({ after: '0' })
    const { message } = await tab.is('reconnecting')
    t.match(message, /1/, 'the server\'s words')
    first.close()
    t.same((await tab.has('early')).texts, ['early'])
    await tab.is('live')
  })

  t.test('a run that ends, and one that had ended when the server came back', async (t) => {
    const b = await bench(t)
    await b.sql`insert into scraper_run (id, name) overriding system value values (7, 'a'), (8, 'b')`
    const tab = await b.tab({ run: 7, tail: 10 })
    const eight = await b.tab({ run: 8, tail: 10 })
    const all = await b.tab({ tail: 10 })
    await Promise.all([tab, eight, all].map((each) => each.is('live')))
    await b.write(['last'])
    await b.write(['of eight'], 8)
    await b.sql`update scraper_run set status = 'finished' where id = 7`
    const { texts, stopped } = await tab.is('ended')
    t.same([texts, stopped], [['last'], [7]])
    t.same((await all.until('seen.stopped.length > 0')).stopped, [7])
    await eight.has('of eight')
    const port = await b.kill()
    await b.sql`update scraper_run set status = 'finished' where id = 8`
    await b.serve(port)
    t.same((await eight.is('ended')).texts, ['of eight'], '204: it lacks nothing')
    t.equal(await all.page.evaluate('handle.state === "closed" || handle.state === "ended"'), false)
  })

  t.test('the end of a run is told once, and not to who comes later', async (t) => {
    const b = await bench(t)
    await b.sql`insert into scraper_run (id, name) overriding system value values (7, 'a'), (8, 'b')`
    const first = await b.tab({ tail: 10 })
    await first.is('live')
    await b.write(['of seven'])
    await first.has('of seven')
    await b.sql`update scraper_run set status = 'finished' where id = 7`
    await first.until('seen.stopped.length > 0')
    const late = await b.tab({ tail: 10 })
    await late.has('of seven')
    await eventually(() => b.connections === 1)
    await b.write(['of eight'], 8)
    await late.has('of eight')
    await b.sql`update scraper_run set status = 'finished' where id = 8`
    t.same((await late.until('seen.stopped.length > 0')).stopped, [8])
    t.same((await first.until('seen.stopped.length > 1')).stopped, [7, 8])
  })

  t.test('callbacks that throw, close() in a callback, a signal; what one page watches twice shares, too', async (t) => {
    const b = await bench(t)
    await b.write(['one'])
    const tab = await b.tab({ after: '0' })
    await tab.has('one')
    await tab.page.evaluate(`(() => {
      globalThis.errors = []
      globalThis.reportError = ({ message }) => errors.push(message)
      const fail = () => { throw new Error('mine') }
      globalThis.careless = tail('/logs/stream', { after: '0', onrows: fail, onstate: fail })
      globalThis.calls = []
      globalThis.hasty = tail('/logs/stream', {
        after: '0',
        onrows (rows) {
          calls.push(rows.length)
          hasty.close()
        },
        onstate: (state) => calls.push(state)
      })
      globalThis.leaving = new AbortController()
      globalThis.signalled = tail('/logs/stream', { signal: leaving.signal })
    })()`)
    await tab.until("hasty.state === 'closed' && signalled.state === 'live' && careless.cursor === '1'")
    await tab.page.evaluate('leaving.abort()')
    t.equal(await tab.page.evaluate('signalled.state'), 'closed')
    t.equal(await tab.page.evaluate("tail('/logs/stream', { signal: leaving.signal }).state"), 'closed')
    await eventually(() => b.connections === 1)
    await b.write(['two'])
    t.same((await tab.has('two')).texts, ['one', 'two'])
    await tab.until("careless.cursor === '2'")
    const errors = await tab.page.evaluate('errors') as string[]
    t.ok(errors.length > 2 && errors.every((message) => message === 'mine'))
    t.same(await tab.page.evaluate('calls'), ['live', 1, 'closed'])
  })

  t.test('with headers, or not willing to share, each has a connection of its own', async (t) => {
    const b = await bench(t)
    const tabs = [await b.tab(), await b.tab({ headers: { 'x-user': 'me' } }), await b.tab({ share: false })]
    for (const tab of tabs) await tab.is('live')
    await b.write(['to each'])
    for (const tab of tabs) await tab.has('to each')
    t.equal(b.connections, 3)
  })

  t.test('refused, in the server\'s words', async (t) => {
    const b = await bench(t, { stream: { authorize: (_request, { run }) => run !== null } })
    t.match(await (await b.tab({})).is('refused'), { message: 'you may not watch this log', texts: [] })
    t.match((await (await b.tab({ run: 'x' })).is('refused')).message, /"x"/)
    t.match((await (await b.tab({}, { path: '/nowhere' })).is('refused')).message, /nowhere/)
    t.equal(b.connections, 0)
  })

  t.test('reset: two tabs forget, and get the new table', async (t) => {
    const b = await bench(t)
    await b.write(numbered('old', 20))
    const tabs = [await b.tab({ tail: 100 }), await b.tab({ tail: 100 })]
    for (const tab of tabs) await tab.has('old 20')
    await eventually(() => b.connections === 1)
    await b.sql`truncate scraper_log restart identity`
    await b.write(['new 1'])
    await b.write(['new 2'])
    for (const tab of tabs) {
      const { texts, resets } = await tab.has('new 2')
      t.same(texts, ['new 1', 'new 2'])
      t.equal(resets, 1)
    }
    const late = await b.tab({ tail: 100 })
    await late.has('new 2')
    await eventually(() => b.connections === 1)
    await b.write(['new 3'])
    for (const tab of [...tabs, late]) t.same((await tab.has('new 3')).texts, ['new 1', 'new 2', 'new 3'])
    // Of a life that nobody here knows: whoever follows asks the server, which knows of no reset.
    const { counters } = b.node.app.logQueue
    const before = counters.subscribed
    await late.page.evaluate("new BroadcastChannel('fastify-pg-tail 1 stream ' + new URL('/logs/stream', location)).postMessage({ type: 'reset', was: 'x', life: 'y', message: '', from: 'z' })")
    await eventually(() => counters.subscribed > before && b.connections === 1)
    t.same(await Promise.all([...tabs, late].map(async (tab) => (await tab.seen()).resets)), [1, 1, 0])
  })

  const error = "new DOMException('not here', 'SecurityError')"
  for (const [where, script] of [
    ['without locks', "Object.defineProperty(navigator, 'locks', { value: undefined })"],
    ['where locks are refused', `LockManager.prototype.request = () => Promise.reject(${error})`],
    ['where channels are refused', `globalThis.BroadcastChannel = function () { throw ${error} }`]
  ] as const) {
    t.test(`${where} each tab has a connection of its own while somebody looks at it`, async (t) => {
      const b = await bench(t)
      await b.context.addInitScript(script)
      const tabs = [await b.tab({ tail: 5 }), await b.tab({ tail: 5 })] as const
      for (const tab of tabs) await tab.is('live')
      await b.write(['both'])
      for (const tab of tabs) t.same((await tab.has('both')).texts, ['both'])
      t.equal(b.connections, 2)
      await tabs[0].look(false)
      await tabs[0].is('reconnecting')
      await eventually(() => b.connections === 1)
      await b.write(['unseen'])
      await tabs[1].has('unseen')
      await tabs[0].page.evaluate("globalThis.unseen = tail('/logs/stream')")
      await tabs[0].until("unseen.state === 'reconnecting'")
      await tabs[0].page.evaluate('unseen.close()')
      await tabs[0].look(true)
      t.same((await tabs[0].has('unseen')).texts, ['both', 'unseen'])
      await b.sql`truncate scraper_log restart identity`
      await b.write(['anew'])
      for (const tab of tabs) t.same((await tab.has('anew')).texts, ['anew'])
    })
  }

  t.test('a browser that withdraws each request for a lock is asked now and then', async (t) => {
    const b = await bench(t)
    await b.context.addInitScript(`
      globalThis.withdrawing = true
      const { request } = LockManager.prototype
      LockManager.prototype.request = function (...args) {
        return withdrawing ? Promise.reject(new DOMException('not now', 'AbortError')) : request.apply(this, args)
      }`)
    const tab = await b.tab({ tail: 5 })
    // Asked at once, again and again, the page would never come to this.
    await tab.page.evaluate('withdrawing = false')
    await tab.is('live')
  })

  t.test('the sample of the README', async (t) => {
    const b = await bench(t)
    await b.write(['from the README'])
    const [, code] = /^<!-- test: client\.mjs -->\n```js\n(.*?)^```$/ms.exec(await readFile(new URL('../README.md', import.meta.url), 'utf8'))!
    const page = await openPage(t, b.context, b.node.url)
    const said = page.waitForEvent('console', (message) => message.text() === 'INFO from the README')
    await page.addScriptTag({ type: 'module', content: code!.replace('fastify-pg-tail/client', '/logs/assets/client/tail.js') })
    t.ok(await said)
  })
}
