// Every order in which the statements of a writer and ours can meet, on real sessions: each one goes out when it is
// its turn, and only then. The clock stands still unless nothing else is left to do.

import type { Sql } from 'postgres'
import t from 'tap'
import { install } from '../lib/postgres/install.ts'
import type { Reader } from '../lib/postgres/reader.ts'
import { Source } from '../lib/postgres/source.ts'
import { inspectTable } from '../lib/postgres/table.ts'
import type { Delivery } from '../lib/queue/feed.ts'
import { Doorbell } from '../lib/tail/doorbell.ts'
import type { Channel } from '../lib/tail/channel.ts'
import { NotifyListener } from '../lib/tail/notify-listener.ts'
import type { Order } from '../lib/tail/head.ts'
import { Tailer } from '../lib/tail/tailer.ts'
import { stopClock } from './support/clock.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'

/** Milliseconds that are never over. */
const NEVER = 3_600_000
const COLUMNS = { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] }

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 1 })
await createDemoTables(sql)
await install(sql, { table: 'scraper_log', channel: 'log_updates', payload: 'none' })
const source = new Source(await inspectTable(sql, 'scraper_log', COLUMNS))
const readerSession = connect(t, server.url, { max: 1 })
const writer = connect(t, server.url, { max: 1 })
// The driver opens a session by a timer, and those will stand still.
await Promise.all([readerSession`select 1`, writer`select 1`])
const log = { debug () {}, info () {}, warn ({ err }: { err?: Error }) { if (err) throw err } } as any

/** What follows from a statement has happened, up to the next one. */
const turn = () => new Promise(setImmediate)

/** A session whose statements wait until they are let go, in turn. */
class Gate {
  readonly sql: Sql
  readonly #waiting: Array<() => Promise<void>> = []

  constructor (session: Sql) {
    const later = (start: () => PromiseLike<unknown>) => new Promise((resolve, reject) => {
      this.#waiting.push(async () => { await start().then(resolve, reject) })
    })
    this.sql = Object.assign(
      (text: TemplateStringsArray, ...values: any[]) => later(() => session(text, ...values)),
      { unsafe: (text: string, values: any[], options: object) => later(() => session.unsafe(text, values, options)) }
    ) as unknown as Sql
  }

  get waits (): boolean {
    return this.#waiting.length > 0
  }

  async next (): Promise<void> {
    await this.#waiting.shift()!()
    await turn()
  }
}

type Moves = Record<string, (() => PromiseLike<unknown>) | false | undefined>

/** Makes a move that is possible, another one each time that it has come here by the same way. */
class Explorer {
  #path: Array<{ taken: number, of: number }> = []
  #depth = 0
  #trace: string[] = []

  async move (moves: Moves): Promise<string> {
    const possible = Object.entries(moves).filter(([, move]) => move)
    const choice = this.#path[this.#depth++] ??= { taken: 0, of: possible.length }
    if (choice.of !== possible.length) throw new Error(`another way this time: ${this.#trace}`)
    const [name, move] = possible[choice.taken]!
    this.#trace.push(name)
    await (move as () => PromiseLike<unknown>)()
    return name
  }

  /** All ways that `run` can go. Returns how many those were. */
  async explore (run: () => Promise<void>): Promise<number> {
    for (let runs = 1; ; runs++) {
      this.#depth = 0
      this.#trace = []
      try {
        await run()
      } catch (error) {
        throw new Error(`${(error as Error).message} after ${this.#trace.join(', ')}`, { cause: error })
      }
      while (this.#path.length > 0 && this.#path.at(-1)!.taken === this.#path.at(-1)!.of - 1) this.#path.pop()
      if (this.#path.length === 0) return runs
      this.#path.at(-1)!.taken++
    }
  }
}

function tail (order: Order, gate: Gate, doorbell: object) {
  const delivered: number[] = []
  const deliver = (deliveries: Delivery[]) => { delivered.push(...deliveries.map(({ row }) => Number(row.id))) }
  const reset = () => { throw new Error('reset') }
  const tailer = new Tailer({ order, log, afterRead () {}, receiver: { watched: () => null, watches: () => true, checkHealth () {}, deliver, reset } })
  const reader = { answer: (ask: (sql: Sql) => unknown) => ask(gate.sql) }
  tailer.start(source, reader as unknown as Reader, doorbell as unknown as Doorbell)
  return { tailer, delivered }
}

async function insert (session: Sql): Promise<number> {
  const [row] = await session`insert into scraper_log (run_id, message) values (1, 'row') returning id`
  return Number(row!.id)
}

/** A row in a transaction that stays open. */
async function open (): Promise<number> {
  await writer`begin`
  return insert(writer)
}

/** So far above the sequence that two come in between. */
async function insertByHand (): Promise<number> {
  const [row] = await sql`insert into scraper_log (id, run_id, message) select max(id) + 3, 1, 'by hand' from scraper_log returning id`
  return Number(row!.id)
}

/** What a writer does, from one statement of ours to another; where it is a row, its id. */
type Script = Array<() => PromiseLike<unknown>>

const SCRIPTS: Record<string, { orders: Order[], script: () => Script }> = {
  'a transaction that took the lower id commits later': {
    orders: ['arrival', 'id'],
    script: () => [open, () => insert(sql), () => writer`commit`]
  },
  'ids are taken below one that was set by hand': {
    orders: ['arrival'],
    script: () => [insertByHand, open, () => writer`commit`, () => insert(sql)]
  },
  'an id is taken below one that was set by hand, and another one stays free': {
    orders: ['arrival', 'id'],
    script: () => [insertByHand, open, () => writer`commit`]
  },
  'a transaction is prepared, and committed later': {
    orders: ['arrival'],
    script: () => [open, () => insert(sql), () => writer`prepare transaction 'it'`, () => sql`commit prepared 'it'`]
  }
}
/** Statements of ours before the writer must go on: a gap opens, is looked at twice, and would die. */
const PATIENCE = 9

for (const [what, { orders, script }] of Object.entries(SCRIPTS)) {
  t.test(`${what}: no row is lost, whatever comes between`, async (t) => {
    const tick = stopClock(t)
    await sql`insert into scraper_log (run_id, message) values (1, 'first')`
    for (const order of orders) {
      const explorer = new Explorer()
      const ways = await explorer.explore(async () => {
        const gate = new Gate(readerSession)
        const doorbell = { state: 'polling', rests: 0, start () {}, stop () {}, retry () {}, note () {}, async rest () { this.rests++ } }
        const { tailer, delivered } = tail(order, gate, doorbell)
        while (doorbell.rests === 0) await gate.next()
        const left = script()
        const ids: number[] = []
        for (let steps = 0; gate.waits || left.length > 0 || tailer.inFlight; steps++) {
          if (steps > 200) throw new Error('it waits for ever')
          if (!gate.waits) {
            tick(25)
            tailer.wake()
          }
          const reader = (left.length === 0 || steps < PATIENCE) && (() => gate.next())
          const write = async () => {
            const id = await left.shift()!()
            if (typeof id === 'number') ids.push(id)
            // The bell of what was committed. After the last one nothing else wakes us, unless it is waited for.
            tailer.wake()
          }
          await explorer.move({ reader, writer: left.length > 0 && write })
        }
        tailer.stop()
        await sql`select setval('scraper_log_id_seq', (select max(id) from scraper_log))`
        // One that was set by hand does not wait for ids that are still to come.
        const came = order === 'id' && script()[0] === open ? delivered : delivered.toSorted()
        if (String(came) !== String(ids.toSorted())) throw new Error(`committed ${ids}, delivered ${delivered}`)
      })
      t.ok(ways > 100, `${ways} ways in order '${order}'`)
    }
  })
}

t.test('a writer looks for sleepers while one falls asleep: its row arrives, whatever comes between', async (t) => {
  const listener = new NotifyListener({
    connection: server.url,
    heartbeat: NEVER,
    timeout: NEVER,
    reconnect: { initialDelay: NEVER, maxDelay: NEVER, maxAttempts: 1 },
    log,
    notify: (channel) => sql.notify(channel, ''),
    canRead: () => true,
    onsilence () {}
  })
  const channel = listener.hear({ name: 'log_updates', findObstacle: async () => null, log })
  t.teardown(() => listener.close())
  const listens = new Promise<void>((resolve) => { channel.on('state', (state) => { if (state === 'listening') resolve() }) })
  listener.start()
  await listens
  const session = channel.session!
  const tick = stopClock(t)
  let heard = 0
  channel.on('bell', () => { heard++ })
  let silent = 0
  const explorer = new Explorer()
  const ways = await explorer.explore(async () => {
    const [reading, holding] = [new Gate(readerSession), new Gate(session)]
    let ring = () => {}
    const ears = { state: 'listening', session: holding.sql, on (event: string, act: () => void) { if (event === 'bell') ring = act } }
    const doorbell: Doorbell = new Doorbell({
      listener: ears as unknown as Channel, pollInterval: 1000, safetyInterval: () => NEVER, log, wake: () => tailer.wake()
    })
    const { tailer, delivered } = tail('arrival', reading, doorbell)
    while (!holding.waits) await reading.next()
    let id = 0
    heard = 0
    const left: Script = [
      async () => { id = await open() },
      async () => {
        await writer`commit`
        // It was signalled before the commit was answered, so this answer comes after it.
        await session`select 1`
      }
    ]
    for (let steps = 0; ; steps++) {
      if (steps > 200) throw new Error('it never comes to rest')
      const ours = left.length === 0 || steps < 12
      const bell = async () => {
        heard--
        ring()
        await turn()
      }
      const moves = {
        lock: ours && holding.waits && (() => holding.next()),
        reader: ours && reading.waits && (() => reading.next()),
        bell: heard > 0 && bell,
        writer: left[0] && (() => left.shift()!())
      }
      if (Object.values(moves).some((move) => move)) await explorer.move(moves)
      else if (doorbell.state !== 'armed' || tailer.inFlight) tick(1000)
      else break
    }
    if (String(delivered) !== String(id)) throw new Error(`${id} is committed, it sleeps, and has ${delivered}`)
    if (doorbell.bells === 0) silent++
    tailer.stop()
    while (holding.waits) await holding.next()
  })
  t.ok(ways > 100, `${ways} ways`)
  t.ok(silent > 10 && silent < ways - 10, `on ${silent} of them nobody rang`)
})
