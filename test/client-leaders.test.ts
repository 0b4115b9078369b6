// The browser's client in a real browser, against real nodes: what tabs do among themselves, who leads and whose turn it is.
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import t from 'tap'
import { withoutChromium } from './support/browser.ts'
import { eventually } from './support/eventually.ts'
import { TcpProxy } from './support/proxy.ts'
import { Bench, numbered, Refusal, type Tab } from './support/tabs.ts'

if (withoutChromium) t.plan(0, withoutChromium)
else {
  const bench = await Bench.prepare(t)

  t.test('seven tabs on one stream: one connection, and each has all', async (t) => {
    const b = await bench(t)
    await b.write(numbered('before', 300))
    const tabs: Tab[] = []
    const opening = Array.from({ length: 7 }, async (_, index) => { tabs[index] = await b.tab({ tail: 200 }) })
    const during = (async () => { for (const text of numbered('during', 40)) await b.write([text]) })()
    await Promise.all([...opening, during])
    await b.write(['all are here'])
    for (const tab of tabs) await tab.has('all are here')
    await eventually(() => b.connections === 1)
    await b.write(numbered('shared', 30))
    await b.write(['end'])
    const table = (await b.sql`select id::int from scraper_log order by id`).map(({ id }) => id)
    for (const tab of tabs) {
      const { ids } = await tab.has('end')
      t.equal(new Set(ids).size, ids.length, 'nothing twice')
      t.same([...ids].sort((a, b) => a - b), table.slice(-ids.length), 'nothing is missing')
      t.ok(ids.length >= 231, 'with what was before')
    }
    t.equal(b.connections, 1)
    // The one that leads is closed: the next one goes on.
    for (const gone of [1, 2, 3]) {
      const leading = await leader(tabs)
      tabs.splice(tabs.indexOf(leading), 1)
      await leading.page.close()
      await b.write([`without ${gone}`])
      for (const tab of tabs) await tab.has(`without ${gone}`)
    }
    for (const tab of tabs) {
      const { ids } = await tab.seen()
      t.equal(new Set(ids).size, ids.length)
    }
  })

  t.test('nine tabs on nine streams: four connections, and each has all', async (t) => {
    const b = await bench(t)
    const runs = Array.from({ length: 9 }, (_, index) => index + 1)
    for (const run of runs) await b.write(['before'], run)
    const tabs = await Promise.all(runs.map((run) => b.tab({ run, tail: 10 })))
    for (let round = 1; round <= 3; round++) {
      for (const run of runs) await b.write([`round ${round}`], run)
      await Promise.all(tabs.map((tab) => tab.has(`round ${round}`)))
    }
    for (const tab of tabs) t.same((await tab.seen()).texts, ['before', 'round 1', 'round 2', 'round 3'])
    t.equal(await tabs[0]!.page.evaluate("navigator.locks.query().then(({ held }) => held.filter(({ name }) => name.includes(' slot ')).length)"), 4)
    await eventually(() => b.connections <= 4)
    t.equal(await tabs[0]!.page.evaluate("fetch('/').then((answer) => answer.status)"), 200, 'there is a connection left for a page')
    await Promise.all(tabs.slice(4).map((tab) => tab.page.close()))
    await Promise.all(tabs.slice(0, 4).map((tab) => tab.is('live')))
  })

  t.test('five hidden tabs on five streams that are slow: each gets further', async (t) => {
    const b = await bench(t)
    await b.context.addInitScript("Object.defineProperty(document, 'hidden', { value: true })")
    const tabs = await Promise.all([1, 2, 3, 4, 5].map((run) => b.tab({ run }, { path: '/slow' })))
    for (const tab of tabs) t.same((await tab.has('slow')).texts, ['slow'])
  })

  t.test('the tab that leads crashes in the middle', async (t) => {
    const b = await bench(t)
    const tabs = [await b.tab({ after: '0' }), await b.tab({ after: '0' }), await b.tab({ after: '0' })]
    await b.write(['first'])
    for (const tab of tabs) await tab.has('first')
    await eventually(() => b.connections === 1)
    const writing = (async () => {
      for (let i = 0; i < 150; i++) {
        // Some rows are larger than what is read at a time.
        await b.write([`row ${i} ${i % 10 === 0 ? 'x'.repeat(500_000) : ''}`])
        if (i === 60) crash(tabs[0]!.page)
      }
      await b.write(['end'])
    })()
    await writing
    for (const tab of tabs.slice(1)) {
      await tab.has('end')
      const { ids } = await tab.seen()
      t.same([...ids].sort((a, b) => a - b), Array.from({ length: 152 }, (_, index) => index + 1), 'each once')
    }
    await eventually(() => b.connections === 1)
  })

  t.test('the tab that leads is frozen: another takes over, and it catches up', async (t) => {
    const b = await bench(t)
    const tabs = [await b.tab({ tail: 5 }), await b.tab({ tail: 5 })]
    await b.write(['first'])
    for (const tab of tabs) await tab.has('first')
    await eventually(() => b.connections === 1)
    t.ok(await tabs[0]!.leads())
    const devtools = await b.context.newCDPSession(tabs[0]!.page)
    // Chromium freezes no page that is looked at: the debugger stops it, in the middle of whatever it does.
    await devtools.send('Debugger.enable')
    await devtools.send('Debugger.pause')
    for (const text of numbered('frozen', 300)) await b.write([text + ' '.repeat(20_000)])
    await b.write(['end'])
    await tabs[1]!.has('end')
    t.ok(await tabs[1]!.leads())
    await devtools.send('Debugger.resume')
    await b.write(['thawed'])
    for (const tab of tabs) {
      const { ids } = await tab.has('thawed')
      t.same([...ids].sort((a, b) => a - b), Array.from({ length: 303 }, (_, index) => index + 1), 'each once')
    }
    await eventually(() => b.connections === 1)
  })

  t.test('rows that commit late, and nodes of which one lags', async (t) => {
    const b = await bench(t)
    const { url, app } = b.node
    const wire = await TcpProxy.start(t, Number(new URL(b.database).port))
    wire.delay(100)
    const slow = await b.serve(0, { connectionString: wire.url(b.database) })
    const ports = [url, slow.url].map((origin) => Number(new URL(origin).port))
    let turn = 0
    const sockets = new Set<net.Socket>()
    const balancer = net.createServer((socket) => {
      const upstream = net.connect(ports[turn++ % 2]!, '127.0.0.1')
      for (const each of [socket, upstream]) {
        sockets.add(each)
        each.on('error', () => {}).on('close', () => { socket.destroy(); upstream.destroy() })
      }
      socket.pipe(upstream).pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(balancer, 'listening')
    t.teardown(() => {
      balancer.close()
      for (const socket of sockets) socket.destroy()
    })
    const origin = `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`
    const tabs: Tab[] = []
    await b.write(['first'])
    for (let i = 0; i < 12; i++) {
      // A transaction that took its id is open while others commit, while tabs come, and while connections break.
      const late = await b.sql.reserve()
      await late`begin`
      await late`insert into scraper_log (run_id, message) values (7, ${`late ${i}`})`
      await b.write([`early ${i}`])
      if (i % 2 === 0) {
        const tab = await b.tab({ after: '0' }, { origin })
        tabs.push(tab)
        await tab.has(`early ${i}`)
      }
      if (i % 3 === 2) for (const socket of sockets) socket.destroy()
      await b.write([`between ${i}`])
      await late`commit`
      late.release()
    }
    await b.write(['end'])
    const table = (await b.sql`select id::int from scraper_log order by id`).map(({ id }) => id)
    for (const tab of tabs) {
      await tab.until(`seen.ids.length >= ${table.length}`)
      t.same([...(await tab.seen()).ids].sort((a, b) => a - b), table, 'each once')
    }
    await eventually(() => app.logQueue.subscribers + slow.app.logQueue.subscribers === 1)
  })

  t.test('a tab that has missed what was said asks for it', async (t) => {
    const b = await bench(t)
    // What WebKit does to a page in the back/forward cache. Nobody asks by a timer here.
    await b.context.addInitScript(`
      globalThis.missed = 0
      const every = globalThis.setInterval
      globalThis.setInterval = (task, time) => time < 4000 ? every(task, time) : 0
      BroadcastChannel.prototype.addEventListener = function (type, listener) {
        EventTarget.prototype.addEventListener.call(this, type, (event) => {
          if (globalThis.deaf) missed += event.data.rows?.length ?? 0
          else listener(event)
        })
      }`)
    const tabs = [await b.tab({ tail: 5 }), await b.tab({ tail: 5 })]
    await b.write(['first'])
    for (const tab of tabs) await tab.has('first')
    await eventually(() => b.connections === 1)
    await tabs[1]!.page.evaluate('globalThis.deaf = true')
    await b.write(['missed'])
    await tabs[1]!.until('missed > 0')
    await tabs[1]!.page.evaluate('globalThis.deaf = false')
    await tabs[1]!.look(true)
    t.same((await tabs[1]!.has('missed')).texts, ['first', 'missed'])
    await eventually(() => b.connections === 1)
  })

  t.test('one that leads and has to wait takes no connection from a tab that comes', async (t) => {
    const b = await bench(t)
    const first = await b.tab({ tail: 5 })
    await b.write(['first'])
    await first.has('first')
    const port = await b.kill()
    const proxy = new Refusal(port, '503 Service Unavailable\r\nretry-after: 60')
    await first.until('seen.message.includes("503")')
    await proxy.close()
    await b.serve(port)
    await first.page.evaluate(`(() => {
      globalThis.hellos = 0
      const channel = globalThis.channel = new BroadcastChannel('fastify-pg-tail 1 stream ' + new URL('/logs/stream', location))
      channel.onmessage = ({ data }) => { if (data.type === 'hello') hellos++ }
    })()`)
    const second = await b.tab({ tail: 5 })
    // With each read it says what it has, for as long as it has a connection.
    await first.until('hellos > 3')
    await b.write(['second'])
    t.same((await second.has('second')).texts, ['first', 'second'])
    t.ok(await first.leads())
  })

  /** The one of them whose connection is for all. */
  function leader (tabs: readonly Tab[]): Promise<Tab> {
    return eventually(async () => {
      const leading = await Promise.all(tabs.map((tab) => tab.leads()))
      return tabs[leading.indexOf(true)]!
    })
  }

  /** The browser tells of it by an error, in its own time. */
  async function crash (page: Page): Promise<void> {
    const devtools = await page.context().newCDPSession(page)
    await devtools.send('Page.crash').catch(() => {})
  }
}
