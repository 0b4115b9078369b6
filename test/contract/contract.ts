// What holds whatever the rows come from.

import t, { type Test } from 'tap'
import type { FastifyPgTailOptions, ListenerState, LogRow } from '../../plugin.ts'
import { startApp, statusCodeOf, type App } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'
import type { SseClient } from '../support/sse-client.ts'

export interface Row { run: number, level?: string, message: string }

/** A database with the demo's tables, for one test. */
export interface Backend {
  options: Partial<FastifyPgTailOptions>
  /** In which the listener comes to rest. */
  state: ListenerState
  /** One transaction. */
  write: (rows: Row[]) => Promise<unknown>
  /** The same, and then not. */
  takeBack: (rows: Row[]) => Promise<unknown>
  finish: (run: number) => Promise<unknown>
  /** Empties the log, and begins ids anew. */
  restart: () => Promise<unknown>
}

/** Milliseconds: what nobody waits for is thrown away with a heartbeat. */
const NEVER = 3_600_000

export const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
export const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)
export const got = (client: SseClient): string[] => client.logs().map(({ message }) => message)

export function contract (name: string, make: (t: Test) => Promise<Backend>): void {
  const test = (what: string, act: (t: Test, node: App & Backend) => Promise<unknown>) => t.test(`${name}: ${what}`, async (t) => {
    const backend = await make(t)
    const node = await startApp(t, {
      pollInterval: 20, heartbeat: NEVER, runs: { table: 'scraper_run', finished: ['finished'] }, install: undefined as never, ...backend.options
    }, { state: backend.state })
    await act(t, { ...node, ...backend })
  })
  const rows = (count: number, run = 1): Row[] => Array.from({ length: count }, (_, i) => ({ run, message: `row ${i + 1}` }))
  const names = (rows: Row[]) => rows.map(({ message }) => message)

  test('rows as they are committed, once, in order', async (t, { stream, write, takeBack, state }) => {
    const client = await stream()
    t.equal((await ready(client)).data.mode, state === 'listening' ? 'listen' : 'poll')
    await write([{ run: 1, message: 'a' }])
    await write([{ run: 2, message: 'b' }, { run: 1, message: 'c' }])
    await takeBack([{ run: 1, message: 'never' }])
    await write([{ run: 1, message: 'd' }])
    await message(client, 'd')
    t.same(got(client), ['a', 'b', 'c', 'd'])
    t.match(client.logs()[1], { type: 'log', id: 2, run_id: 2, level: 'INFO', timestamp: /^20\d\d-\d\d-\d\dT[\d:.]+Z$/, message: 'b' })
  })

  test('by run and by level', async (t, { stream, write }) => {
    const [run, errors, both] = [await stream('run_id=1'), await stream('level=ERROR,WARNING'), await stream('run_id=1&level=ERROR')]
    for (const client of [run, errors, both]) await ready(client)
    await write([
      { run: 1, message: 'a' }, { run: 2, level: 'ERROR', message: 'b' }, { run: 1, level: 'WARNING', message: 'c' }, { run: 1, level: 'ERROR', message: 'd' }
    ])
    for (const client of [run, errors, both]) await message(client, 'd')
    t.same([got(run), got(errors), got(both)], [['a', 'c', 'd'], ['b', 'c', 'd'], ['d']])
  })

  test('what was there before: tail, after, and where somebody was', async (t, { stream, write }) => {
    const all = rows(2500)
    await write(all.slice(0, 2400))
    const [start, tail, filtered] = [await stream('after=0'), await stream('tail=10'), await stream('run_id=1&tail=1500')]
    for (const client of [start, tail, filtered]) await message(client, 'row 2400')
    t.same([got(start), got(tail), got(filtered)], [names(all.slice(0, 2400)), names(all.slice(2390, 2400)), names(all.slice(900, 2400))])
    const seen: string[] = []
    let lastEventId: string | undefined
    for (let cut = 1; !seen.includes('row 2500'); cut += 117) {
      const client = await stream('after=0', lastEventId === undefined ? {} : { lastEventId })
      if (cut > 200 && all.length > 2400) await write(all.splice(2400, 20))
      await client.waitFor(() => client.logs().length >= Math.min(cut, 5) || client.logs().some(({ message }) => message === 'row 2500'))
      client.close()
      seen.push(...got(client))
      lastEventId = client.lastEventId
    }
    t.same(seen, names(rows(2500)))
  })

  test('text is what was written', async (t, { stream, write }) => {
    const texts = ['two\nlines', '\r\n\r\ndata: x', '"quotes" and \\', '🦉 and ü', 'x'.repeat(200_000)]
    const client = await stream()
    await ready(client)
    await write(texts.map((message) => ({ run: 1, message })))
    await message(client, texts.at(-1)!)
    t.same(got(client), texts)
    const late = await stream('after=0')
    await message(late, texts.at(-1)!)
    t.same(got(late), texts)
  })

  test('a run ends: its rows, stopped, and 204 for who comes back', async (t, { stream, write, finish }) => {
    const client = await stream('run_id=7')
    await ready(client)
    await write(rows(3, 7))
    await finish(7)
    t.equal(await client.ended, 'end')
    t.same(got(client), ['row 1', 'row 2', 'row 3'])
    t.match(client.events.at(-1)!.data, { type: 'stopped', run_id: 7, status: 'finished', rows: 3 })
    t.equal(await statusCodeOf(() => stream('run_id=7', { lastEventId: client.lastEventId })), 204)
    const late = await stream('run_id=7&tail=1')
    t.equal(await late.ended, 'end')
    t.same(late.events.map(({ data }) => data.message), [late.events[0]!.data.message, 'row 3', 'Run finished'])
  })

  test('a run is stopped', async (t, { app, stream, write }) => {
    const client = await stream('run_id=7')
    await ready(client)
    await write(rows(2, 7))
    await message(client, 'row 2')
    await app.logQueue.stop(7, 'Enough')
    t.equal(await client.ended, 'end')
    t.match(client.events.at(-1)!.data, { type: 'stopped', status: 'stopped', rows: 2, message: 'Enough' })
  })

  test('in the same process', async (t, { app, write }) => {
    await write(rows(2))
    const taken: LogRow[] = []
    const stop = new AbortController()
    const reading = (async () => {
      for await (const row of app.logQueue.subscribe({ run: 1, after: '0', signal: stop.signal })) if (taken.push(row) === 4) stop.abort()
    })()
    await eventually(() => taken.length === 2)
    await write([{ run: 1, message: 'row 3' }, { run: 1, message: 'row 4' }])
    await reading
    t.same(taken.map(({ id, run, message }) => [id, run, message]), [[1, 1, 'row 1'], [2, 1, 'row 2'], [3, 1, 'row 3'], [4, 1, 'row 4']])
  })

  test('ids begin anew: reset, and the rows of the new life', async (t, { stream, write, restart }) => {
    const client = await stream()
    await ready(client)
    await write(rows(5))
    await message(client, 'row 5')
    await restart()
    await client.until(({ data }) => data.type === 'reset')
    await write([{ run: 1, message: 'anew' }])
    await message(client, 'anew')
    t.same(client.events.map(({ data }) => data.type), ['connected', 'log', 'log', 'log', 'log', 'log', 'reset', 'log'])
    const back = await stream('', { lastEventId: '4' })
    await message(back, 'anew')
    t.same(back.events.map(({ data }) => data.type), ['connected', 'reset', 'log'])
  })

  test('bad requests, the status, and a clean end', async (t, { app, stream, write, state }) => {
    for (const query of ['run_id=x', 'run_id=9223372036854775808', 'after=x', 'level=', 'tail=-1']) t.equal((await stream(query)).status, 400, query)
    const client = await stream('run_id=1')
    await ready(client)
    await write(rows(2))
    await message(client, 'row 2')
    t.match((await app.inject('/logs/status')).json(), {
      available: true,
      listener: { running: true, state, mode: state === 'listening' ? 'listen' : 'poll' },
      notification_queues: { total_queues: 1, queue_sizes: { 1: 2 } },
      subscribers: { current: 1, frames: 2, deliveries: 2 },
      watermark: '2',
      gaps: { open: 0 }
    })
    t.ok(app.notifyListener.isReady())
    await app.close()
    t.equal(await client.ended, 'end')
    t.equal(app.notifyListener.state, 'closed')
  })
}
