// What a client gets, step by step, of a feed that is made up.

import t from 'tap'
import { Cohort } from '../lib/queue/cohort.ts'
import type { Feed, Replay } from '../lib/queue/feed.ts'
import type { Notice } from '../lib/queue/frame.ts'
import { Batch } from '../lib/queue/ring.ts'
import { Subscriber } from '../lib/queue/subscriber.ts'
import { Cursor } from '../lib/tail/cursor.ts'

/** One of this feed, and what it gets: types of notices, ids of rows. */
function subscribe (feed: object, cohort: Cohort, got: unknown[]): Subscriber {
  const sink = {
    write: (batch: Batch) => { got.push(...batch.frames.map(({ event }) => Number(event))); return true },
    notice: ({ type }: Notice) => got.push(type) > 0,
    heartbeat: () => true,
    progress: () => '',
    end () { got.push('end') },
    destroy () {}
  }
  const subscriber = new Subscriber({
    feed: feed as Feed,
    log: { debug () {}, info () {} } as any,
    toFrame: ({ row }) => frame(row.id),
    connected: () => ({ type: 'connected' }) as any,
    resetMessage: () => '',
    onlag () {},
    onreplay () {},
    onclose: () => cohort.subscribers.delete(subscriber)
  }, cohort, sink)
  cohort.subscribers.add(subscriber)
  return subscriber
}

const frame = (id: bigint) => ({ level: null, event: `${id}` }) as any

t.test('a run ends while somebody who is ahead of this node reads what it lacks: its last rows come first', async (t) => {
  const got: unknown[] = []
  const cohort = new Cohort({ run: '7', levels: null }, 10)
  let answer: (page: Replay) => void = () => {}
  const feed = {
    cursor: new Cursor(95n),
    wakeUp: async () => {},
    moved: () => new Promise(() => {}),
    isBeyond: async () => false,
    isBehind: async () => true,
    parseRun: (run: string) => run,
    replay: (from: Cursor, to: Cursor) => new Promise<Replay>((resolve) => {
      got.push(`reads ${from.missing()[0]!.lo} to ${to}`)
      answer = resolve
    })
  }
  const page = async (id: bigint, cursor: Cursor) => {
    answer({ deliveries: [{ row: { id } as any, cursor: String(cursor) }], cursor })
    await new Promise(setImmediate)
  }
  const subscriber = subscribe(feed, cohort, got)
  // Another node had 98 by then, and not yet 50.
  subscriber.start({ after: Cursor.parse('98~50') })
  await new Promise(setImmediate)
  feed.cursor = new Cursor(105n)
  cohort.add(frame(105n))
  cohort.flush(feed.cursor)
  cohort.stop({ type: 'stopped' } as any)
  await page(50n, new Cursor(98n))
  await page(105n, new Cursor(105n))
  t.same(got, ['connected', 'reads 50 to 95', 50, 'reads 99 to 105', 105, 'stopped', 'end'])
})

t.test('the last rows cannot be asked for at first: what comes meanwhile is none of them', async (t) => {
  const asked: string[] = []
  let resolved = () => {}
  const second = new Promise<void>((resolve) => { resolved = resolve })
  const feed = {
    cursor: new Cursor(10n),
    seen: new Cursor(10n),
    wakeUp: async () => {},
    moved: () => new Promise(() => {}),
    async tail (to: Cursor) {
      if (asked.push(String(to)) > 1) return to
      // Greeted by now, it is to get what comes.
      feed.cursor = feed.seen = new Cursor(20n)
      throw new Error('no answer')
    },
    replay: async (from: Cursor, to: Cursor) => {
      asked.push(`${from} to ${to}`)
      resolved()
      return { deliveries: [], cursor: to }
    }
  }
  const got: unknown[] = []
  const subscriber = subscribe(feed, new Cohort({ run: null, levels: null }, 10), got)
  subscriber.start({ tail: 1 })
  await second
  t.same(asked, ['10', '10', '10 to 20'])
  t.same(got, ['connected'])
  subscriber.close()
})

t.test('a client for which another node has settled more than this one: live once all that is there was handed on, and no row twice', async (t) => {
  const got: unknown[] = []
  const cohort = new Cohort({ run: null, levels: null }, 10)
  let answer: (behind: boolean) => void = () => {}
  let moved = () => {}
  const asked: Array<() => void> = []
  const feed = {
    cursor: new Cursor(95n),
    wakeUp: async () => {},
    moved: () => new Promise<void>((resolve) => { moved = resolve }),
    isBeyond: async () => false,
    isBehind: () => new Promise<boolean>((resolve) => {
      answer = resolve
      asked.shift()?.()
    }),
    parseRun: (run: string) => run,
    replay: async (_from: Cursor, to: Cursor) => ({ deliveries: [], cursor: to })
  }
  const deliver = (id: bigint, cursor: Cursor) => {
    feed.cursor = cursor
    cohort.add(frame(id))
    cohort.flush(cursor)
  }
  const turn = () => new Promise(setImmediate)
  const subscriber = subscribe(feed, cohort, got)
  const first = new Promise<void>((resolve) => { asked.push(resolve) })
  // It has 97 as a row, and 96 and 98 as settled.
  subscriber.start({ after: Cursor.parse('98') })
  await first
  t.equal(subscriber.state, 'replaying')
  // The read that the answer waits for brings the row that the client has.
  deliver(97n, new Cursor(97n, [{ lo: 96n, hi: 96n }]))
  moved()
  answer(false)
  await turn()
  t.equal(subscriber.state, 'live')
  deliver(99n, new Cursor(99n, [{ lo: 96n, hi: 96n }, { lo: 98n, hi: 98n }]))
  subscriber.pump()
  t.same(got, ['connected', 99])
  subscriber.close()
})
