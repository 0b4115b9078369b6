// What the tests of the viewer begin with: a database with the tables of the example, an app that shows them, and a page of it.

import type { Browser, Page } from 'playwright-core'
import type { Test } from 'tap'
import type { FastifyPgTailOptions, ListenerState } from '../../plugin.ts'
import { startApp } from './app.ts'
import { openPage } from './browser.ts'
import { connect, createDatabase, createDemoTables, type startPostgres } from './postgres.ts'

export function benchOn (server: Awaited<ReturnType<typeof startPostgres>>) {
  let databases = 0
  return async (t: Test, options: Partial<FastifyPgTailOptions> = {}, state: ListenerState = 'listening') => {
    const url = await createDatabase(t, server, `viewer_${++databases}`)
    const sql = connect(t, url)
    await createDemoTables(sql)
    const node = await startApp(t, { connectionString: url, viewer: true, runs: { table: 'scraper_run', finished: ['finished'] }, heartbeat: 200, retry: 20, ...options }, { state })
    const write = (texts: string[], run = 7, level = 'INFO') => sql`insert into scraper_log ${sql(texts.map((message) => ({ run_id: run, level, message })))}`
    return { sql, app: node.app, origin: node.url, write }
  }
}

/** Pages far from UTC, and with a clipboard. What they say for four seconds stays until they say something else. */
export function opener (browser: Browser) {
  return async (t: Test, url: string, viewport = { width: 1280, height: 800 }): Promise<Page> => {
    const context = await browser.newContext({ viewport, timezoneId: 'Asia/Tokyo', permissions: ['clipboard-read', 'clipboard-write'] })
    t.teardown(() => context.close())
    await context.addInitScript('const wait = setTimeout; setTimeout = (act, after, ...rest) => after === 4000 ? 0 : wait(act, after, ...rest)')
    return openPage(t, context, url)
  }
}
