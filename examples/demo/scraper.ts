// A scraper that scrapes nothing: it only writes the log that a real one would.
// It uses plain inserts, and knows nothing of who watches.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'

export interface ScraperOptions {
  /** Stops the scraper at once. */
  signal: AbortSignal
  /** Runs at the same time. Default 4. */
  workers?: number
  /** Finished runs that are kept, with their rows. Default 200. */
  keepRuns?: number
  /** Where a lost database is told. */
  log?: { warn (obj: object, message: string): void }
}

interface Run { id: string, site: string, pages: number, fails: boolean }
interface Row { level: 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR', message: string }

const SITES = [
  'Kettle & Crumb', 'Nordlicht Lampen', 'Papaya Pantry', 'Velo Vesper', 'The Sock Drawer',
  'Moss & Marble', 'Bean Theory', 'Fjord Audio', 'Casa Cactus', 'Ink & Otter', 'Pixel Picnic',
  'Tiny Telescope', 'Harbour Books', 'Zum Goldenen Pinsel'
]
const SECTIONS = ['new', 'sale', 'kitchen', 'garden', 'audio', 'books', 'outdoor', 'gifts']
const GOODS = [
  'copper kettle', 'desk lamp', 'dried mango 🥭', 'bicycle bell 🔔', 'wool socks', 'marble tray',
  'espresso beans ☕', 'walnut speaker', 'golden barrel cactus 🌵', 'fountain pen', 'picnic rug',
  'star chart ✨', 'atlas', 'sable brush 🖌️'
]

/** Resolves once the signal is aborted and the last statement has ended. */
export async function runScraper (sql: Sql, options: ScraperOptions): Promise<void> {
  const { workers = 4 } = options
  const scraper = new Scraper(sql, options)
  await Promise.all(Array.from({ length: workers }, (_, index) => scraper.work(index)))
}

class Scraper {
  #sql: Sql
  #signal: AbortSignal
  #keepRuns: number
  #log: ScraperOptions['log']
  #busySites = new Set<string>()
  #databaseLost = false

  constructor (sql: Sql, { signal, keepRuns = 200, log }: ScraperOptions) {
    this.#sql = sql
    this.#signal = signal
    this.#keepRuns = keepRuns
    this.#log = log
  }

  async work (index: number): Promise<void> {
    try {
      // Workers that start together would also fall silent together.
      await this.#pause(index * 700)
      while (true) {
        await this.#scrape()
        await this.#pause(between(1_500, 6_000))
      }
    } catch (err) {
      if (!this.#signal.aborted) throw err
    }
  }

  async #scrape (): Promise<void> {
    const site = pick(SITES.filter((name) => !this.#busySites.has(name)))
    this.#busySites.add(site)
    const id = await this.#persist(async () => {
      const [row] = await this.#sql<{ id: string }[]>`
        insert into public.scraper_run (name) values (${site}) returning id`
      return row!.id
    })
    try {
      const status = await this.#visitPages({ id, site, pages: between(6, 30), fails: chance(0.2) })
      await this.#persist(() => this.#finish(id, status))
      await this.#persist(() => this.#forgetOldRuns())
    } catch (err) {
      // Stopped. Nobody else will end this run. Where the database is gone too, so be it.
      await this.#finish(id, 'failed').catch(() => {})
      throw err
    } finally {
      this.#busySites.delete(site)
    }
  }

  async #visitPages (run: Run): Promise<'finished' | 'failed'> {
    await this.#write(run, [
      { level: 'INFO', message: `Started: ${run.site}, ${run.pages} pages to visit 🚀` },
      { level: 'DEBUG', message: configOf(run) }
    ])
    const failsAt = run.fails ? between(3, run.pages) : Infinity
    let items = 0
    for (let page = 1; page <= run.pages; page++) {
      const rows = rowsOfPage(run, page)
      items += rows.length
      // Some pages come in one statement, most row by row, like a program that is at work.
      if (chance(0.25)) {
        await this.#write(run, rows)
      } else {
        for (const row of rows) {
          await this.#write(run, [row])
          await this.#pause(between(5, 120))
        }
      }
      if (page >= failsAt) {
        await this.#write(run, [{ level: 'ERROR', message: stackTrace(run) }])
        return 'failed'
      }
      await this.#pause(chance(0.08) ? between(4_000, 9_000) : between(150, 1_800))
    }
    await this.#write(run, [{ level: 'INFO', message: `Done: ${items} items from ${run.pages} pages ✅` }])
    return 'finished'
  }

  async #write (run: Run, rows: Row[]): Promise<void> {
    const values = rows.map((row) => ({ run_id: run.id, ...row }))
    await this.#persist(() => this.#sql`
      insert into public.scraper_log ${this.#sql(values, 'run_id', 'level', 'message')}`)
  }

  async #finish (id: string, status: 'finished' | 'failed'): Promise<void> {
    await this.#sql`
      update public.scraper_run set status = ${status}, finished_at = now() where id = ${id}`
  }

  /** A demo that runs for weeks must not fill the disk. */
  async #forgetOldRuns (): Promise<void> {
    const [oldest] = await this.#sql<{ id: string }[]>`
      select id from public.scraper_run order by id desc offset ${this.#keepRuns - 1} limit 1`
    if (!oldest) return
    await this.#sql`delete from public.scraper_log where run_id < ${oldest.id}`
    await this.#sql`delete from public.scraper_run where id < ${oldest.id}`
  }

  /**
   * A database may be away for a while. A commit whose answer was lost is written twice:
   * good enough for a demo.
   */
  async #persist<T> (statement: () => Promise<T>): Promise<T> {
    while (true) {
      this.#signal.throwIfAborted()
      try {
        const result = await statement()
        this.#databaseLost = false
        return result
      } catch (err) {
        if (!this.#databaseLost) this.#log?.warn({ err }, 'the demo scraper cannot write, and tries again')
        this.#databaseLost = true
        await this.#pause(2_000)
      }
    }
  }

  /** @throws once the signal is aborted */
  async #pause (ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal })
  }
}

function rowsOfPage (run: Run, page: number): Row[] {
  const section = pick(SECTIONS)
  const rows: Row[] = [
    { level: 'DEBUG', message: `GET /${section}?page=${page} 200 in ${between(40, 900)} ms` },
    { level: 'INFO', message: `Page ${page} of ${run.pages}: /${section}` }
  ]
  // Now and then a long listing: a burst.
  const items = chance(0.06) ? between(150, 400) : between(2, 14)
  for (let n = 0; n < items; n++) rows.push(rowOfItem(section))
  return rows
}

function rowOfItem (section: string): Row {
  const item = pick(GOODS)
  const dice = Math.random()
  if (dice < 0.70) return { level: 'INFO', message: `${item}: ${price()}, ${between(0, 40)} in stock` }
  if (dice < 0.88) return { level: 'DEBUG', message: `parsed "${item}" in ${between(1, 30)} ms` }
  if (dice < 0.92) return { level: 'WARNING', message: `429 Too Many Requests, waiting ${between(1, 9)} s 🐢` }
  if (dice < 0.96) return { level: 'WARNING', message: `${item}: no price in <span class="price">, taken from the listing` }
  if (dice < 0.98) return { level: 'DEBUG', message: JSON.stringify({ section, item, price: price(), tags: [section, 'demo'] }, null, 2) }
  return { level: 'ERROR', message: `${item}: picture could not be loaded (ECONNRESET)` }
}

function configOf (run: Run): string {
  return JSON.stringify({ site: run.site, pages: run.pages, concurrency: 2, userAgent: 'demo-scraper/1.0', retry: { limit: 3, backoffMs: 500 } }, null, 2)
}

function stackTrace (run: Run): string {
  return [
    `ScrapeError: ${run.site} changed its layout: no element matches ".product-card > h2"`,
    '    at parseListing (scraper/parse.js:88:11)',
    '    at async visit (scraper/visit.js:41:19)',
    '    at async run (scraper/run.js:23:5)',
    'caused by: TypeError: Cannot read properties of null (reading \'textContent\')'
  ].join('\n')
}

/** A whole number, both ends included. */
function between (low: number, high: number): number {
  return low + Math.floor(Math.random() * (high - low + 1))
}

function chance (probability: number): boolean {
  return Math.random() < probability
}

function pick<T> (list: T[]): T {
  return list[between(0, list.length - 1)]!
}

function price (): string {
  return `${between(2, 180)}.${between(0, 9)}9 €`
}
