// Tabs of a real browser that watch real nodes by the client.

import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type postgres from 'postgres'
import type { Test } from 'tap'
import type { FastifyPgTailOptions } from '../../plugin.ts'
import { startApp, type App } from './app.ts'
import { openPage, startBrowser } from './browser.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './postgres.ts'

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

export interface Seen { ids: number[], texts: string[], states: string[], resets: number, stopped: number[], cursor: string | null, message: string }

/** A stream whose only row is longer in coming than the turn of a hidden tab, which is a second, and at most one more until it is asked. */
function slow (_request: unknown, reply: FastifyReply): void {
  const { raw } = reply.hijack()
  raw.writeHead(200, { 'content-type': 'text/event-stream' })
  raw.write('data: {"type":"connected","mode":"listen","message":"it takes its time"}\n\nid: 0\n\n')
  const timer = setTimeout(() => raw.write('id: 1\ndata: {"type":"log","id":1,"run_id":1,"message":"slow"}\n\n'), 2500)
  raw.on('close', () => clearTimeout(timer))
}

/** A database, a node and a browser's context. Its tabs share what tabs of an origin share. */
export class Bench {
  sql!: postgres.Sql
  node!: App
  database!: string
  context!: BrowserContext
  readonly #t: Test
  readonly #options: Partial<FastifyPgTailOptions>

  private constructor (t: Test, options: Partial<FastifyPgTailOptions>) {
    this.#t = t
    this.#options = options
  }

  /** Returns what makes one for each test: on one server, in one browser. */
  static async prepare (t: Test): Promise<(t: Test, options?: Partial<FastifyPgTailOptions>) => Promise<Bench>> {
    const server = await startPostgres(t)
    const browser = await startBrowser(t)
    let databases = 0
    return async (t, options = {}) => {
      const made = new Bench(t, options)
      await made.#start(await createDatabase(t, server, `tabs_${++databases}`), browser)
      return made
    }
  }

  async #start (url: string, browser: Browser): Promise<void> {
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

/** A page that watches. */
export class Tab {
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

/** A proxy at that port that finds nobody, and says so to each request. */
export class Refusal {
  asked = 0
  readonly #server: net.Server

  /** @param head the status and its reason, and headers after it */
  constructor (port: number, head: string) {
    this.#server = net.createServer((socket) => {
      socket.once('data', () => {
        this.asked++
        socket.end(`HTTP/1.1 ${head}\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 5\r\n\r\n<h1>!`)
      })
      socket.on('error', () => {})
    }).listen(port, '127.0.0.1')
  }

  async close (): Promise<void> {
    this.#server.close()
    await once(this.#server, 'close')
  }
}

export function numbered (word: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${word} ${index + 1}`)
}
