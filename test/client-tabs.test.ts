// The browser's client in a real browser, against real nodes: one tab, and many. Every wait is for something that a tab has got.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import net, { type AddressInfo } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type postgres from 'postgres'
import t, { type Test } from 'tap'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp, type App } from './support/app.ts'
import { openPage, startBrowser, withoutChromium } from './support/browser.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import { SseClient } from './support/sse-client.ts'

t.setTimeout(280_000)

/** What a page of the tests has: it watches, and notes what it got. */
const SCRIPT = `
  import { tail } from '/logs/assets/client/tail.js'
  // Newer than locks and channels: it has to do without.
  delete AbortSignal.any
  globalThis.tail = tail
  const me = String(Math.random())
  navigator.locks?.request(me, () => new Promise(() => {})).catch(() => {})
  globalThis.leads = async () => {
    const { held } = await navigator.locks.query()
    const client = held.find(({ name }) => name === me)?.clientId
    return held.some(({ name, clientId }) => name.includes(' stream ') && clientId === client)
  }
  globalThis.watch = (url, options) => {
    const seen = globalThis.seen = { ids: [], texts: [], states: [], resets: 0, stopped: [], cursor: null, message: '' }
    globalThis.handle = tail(url, {
      ...options,
      onrows (rows, cursor) {
        for (const { id, message } of rows) {
          seen.ids.push(id)
          seen.texts.push(message)
        }
        seen.cursor = cursor
      },
      onstate (state, message) {
        seen.states.push(state)
        seen.message = message
      },
      onreset () {
        seen.resets++
        seen.ids = []
        seen.texts = []
      },
      onstopped (stopped) { seen.stopped.push(stopped.run_id) }
    })
  }
  globalThis.ready = true
`

interface Seen { ids: number[], texts: string[], states: string[], resets: number, stopped: number[], cursor: string | null, message: string }

/** A stream whose only row is longer in coming than the turn of a hidden tab, which is a second, and at most one more until it is asked. */
function slow (_request: unknown, reply: FastifyReply): void {
  const { raw } = reply.hijack()
  raw.writeHead(200, { 'content-type': 'text/event-stream' })
  raw.write('data: {"type":"connected","mode":"listen","message":"it takes its time"}\n\nid: 0\n\n')
  const timer = setTimeout(() => raw.write('id: 1\ndata: {"type":"log","id":1,"run_id":1,"message":"slow"}\n\n'), 2500)
  raw.on('close', () => clearTimeout(timer))
}

if (withoutChromium) t.plan(0, withoutChromium)
else {
  const server = await startPostgres(t)
  const browser = await startBrowser(t)
  let databases = 0

  class Bench {
    sql!: postgres.Sql
    node!: App
    database!: string
    context!: BrowserContext
    readonly #t: Test
    readonly #options: Partial<FastifyPgTailOptions>

    constructor (t: Test, options: Partial<FastifyPgTailOptions>) {
      this.#t = t
      this.#options = options
    }

    async start (browser: Browser): Promise<void> {
      const url = await createDatabase(this.#t, server, `tabs_${++databases}`)
      this.sql = connect(this.#t, url)
      await createDemoTables(this.sql)
      this.#options.connectionString = this.database = url
      await this.serve()
      this.context = await browser.newContext()
      this.#t.teardown(() => this.context.close())
    }

    async serve (port = 0, more: Partial<FastifyPgTailOptions> = {}): Promise<App> {
      const options = { runs: { table: 'scraper_run', finished: ['finished'] }, heartbeat: 100, retry: 20, viewer: true, ...this.#options, ...more }
      this.node = await startApp(this.#t, options, {
        port,
        setup: (app) => {
          app.get('/', async (_request, reply) => reply.type('text/html').send(`<script type="module">${SCRIPT}</script>`))
          app.get('/slow', slow)
        }
      })
      return this.node
    }

    /** As a crash looks from outside. */
    async kill (): Promise<number> {
      const { port } = this.node.app.server.address() as AddressInfo
      this.node.app.server.closeAllConnections()
      await this.node.app.close()
      return port
    }

    async tab (options: object = {}, { origin = this.node.url, path = '/logs/stream' } = {}): Promise<Tab> {
      const page = await openPage(this.#t, this.context, origin)
      await page.waitForFunction('globalThis.ready')
      const tab = new Tab(page)
      await tab.watch(path, options)
      return tab
    }

    write (texts: string[], run = 7): Promise<unknown> {
      return this.sql`insert into scraper_log ${this.sql(texts.map((message) => ({ run_id: run, message })))}`
    }

    get connections (): number {
      return this.node.app.logQueue.subscribers
    }
  }

  class Tab {
    readonly page: Page

    constructor (page: Page) {
      this.page = page
    }

    watch (path: string, options: object): Promise<unknown> {
      return this.page.evaluate(`watch(${JSON.stringify(path)}, ${JSON.stringify(options)})`)
    }

    seen (): Promise<Seen> {
      return this.page.evaluate('seen')
    }

    async until (condition: string): Promise<Seen> {
      await this.page.waitForFunction(condition, null, { polling: 20 })
      return this.seen()
    }

    has (text: string): Promise<Seen> {
      return this.until(`seen.texts.includes(${JSON.stringify(text)})`)
    }

    /** Whether its connection is for all who watch the same. */
    leads (): Promise<boolean> {
      return this.page.evaluate('leads()')
    }

    /** As if somebody looked at it, or not any more. */
    look (visible: boolean): Promise<unknown> {
      return this.page.evaluate(`Object.defineProperty(document, 'hidden', { value: ${!visible}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`)
    }

    is (state: string): Promise<Seen> {
      return this.until(`handle.state === ${JSON.stringify(state)}`)
    }
  }

  const bench = async (t: Test, options: Partial<FastifyPgTailOptions> = {}) => {
    const made = new Bench(t, options)
    await made.start(browser)
    return made
  }
  const numbered = (word: string, count: number) => Array.from({ length: count }, (_, index) => `${word} ${index + 1}`)

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
    let asked = 0
    const proxy = net.createServer((socket) => {
      socket.once('data', () => {
        asked++
        socket.end('HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 5\r\n\r\n<h1>!')
      })
      socket.on('error', () => {})
    }).listen(port, '127.0.0.1')
    await eventually(() => asked > 1)
    t.match((await tab.until('seen.message.includes("502")')).message, 'The server answered 502')
    proxy.close()
    await once(proxy, 'close')
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
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' })
    for (const text of numbered('frozen', 300)) await b.write([text + ' '.repeat(20_000)])
    await b.write(['end'])
    await tabs[1]!.has('end')
    t.ok(await tabs[1]!.leads())
    await devtools.send('Page.setWebLifecycleState', { state: 'active' })
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
    // What WebKit does to a page in the back/forward cache.
    await b.context.addInitScript(`
      globalThis.missed = 0
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
      await tabs[0].look(true)
      t.same((await tabs[0].has('unseen')).texts, ['both', 'unseen'])
      await b.sql`truncate scraper_log restart identity`
      await b.write(['anew'])
      for (const tab of tabs) t.same((await tab.has('anew')).texts, ['anew'])
    })
  }

  t.test('the sample of the README', async (t) => {
    const b = await bench(t)
    await b.write(['from the README'])
    const [, code] = /^<!-- test: client\.mjs -->\n```js\n(.*?)^```$/ms.exec(await readFile(new URL('../README.md', import.meta.url), 'utf8'))!
    const page = await openPage(t, b.context, b.node.url)
    const said = page.waitForEvent('console', (message) => message.text() === 'INFO from the README')
    await page.addScriptTag({ type: 'module', content: code!.replace('fastify-pg-tail/client', '/logs/assets/client/tail.js') })
    t.ok(await said)
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
