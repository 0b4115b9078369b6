import { setMaxListeners } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import { errors } from '../errors.ts'
import type { Filter, LogRow } from '../row.ts'
import { Cursor } from '../tail/cursor.ts'
import type { Mode } from '../tail/channel.ts'
import type { Cohort } from './cohort.ts'
import { Cohorts } from './cohorts.ts'
import { Endings } from './endings.ts'
import type { Delivery, Feed, Receiver, RunEnd } from './feed.ts'
import { frame, type Notice } from './frame.ts'
import { Latency } from './latency.ts'
import { RowStream, type RowIterator } from './row-stream.ts'
import type { Sink } from './sink.ts'
import { Subscriber, type Start, type SubscriberHost } from './subscriber.ts'
import type { Texts } from './texts.ts'

/** Most rows that `tail` gives. */
export const MAX_TAIL = 100_000

export interface LogQueueOptions {
  feed: Feed
  queueSize: number
  maxSubscribers: number
  /** Milliseconds. */
  heartbeat: number
  /** Milliseconds. */
  stallTimeout: number
  texts: Texts
  mode: () => Mode
  /** A batch went out, so many milliseconds after the timestamp of its last row. */
  onlatency: (milliseconds: number) => void
  log: FastifyBaseLogger
}

export interface SubscribeOptions {
  /** Only rows of this run. Default: all runs. */
  run?: string | number | bigint
  /** Only rows of these levels: at most 32, of 1 to 64 characters each, compared as written. Default: all levels. */
  level?: string | readonly string[]
  /** Resume after this cursor; `'0'`: from the start of the table. Default: from now on, which begins when `ready` resolves. */
  after?: string
  /** The last so many rows first, 0 to 100,000. `after` wins over it. Default: none. */
  tail?: number
  /** Ends the subscription when it aborts. */
  signal?: AbortSignal
}

/** What an app sees of the queue. */
export type AppLogQueue = Pick<LogQueue, 'subscribe' | 'stop' | 'subscribers' | 'counters' | 'status'>

/** Hands rows to whoever watches: one ring for each thing that is watched, however many watch it. */
export class LogQueue implements Receiver {
  /** Since the start: see *The status* in the README. */
  readonly counters = { frames: 0, deliveries: 0, bytes: 0, replays: 0, lagged: 0, stalled: 0, rejected: 0, subscribed: 0 }
  readonly #options: LogQueueOptions
  readonly #host: SubscriberHost
  readonly #cohorts = new Cohorts()
  readonly #latency = new Latency()
  readonly #endings: Endings
  readonly #heartbeat: NodeJS.Timeout
  readonly #closing = new AbortController()
  #subscribers = 0
  /** What clients were told of the feed. */
  #failing = false

  constructor (options: LogQueueOptions) {
    this.#options = options
    const { feed, log, texts } = options
    this.#host = {
      feed,
      log,
      toFrame: (delivery) => frame(delivery, feed.integerRuns),
      connected: () => this.#sayMode('connected'),
      resetMessage: texts.reset,
      onlag: () => { this.counters.lagged++ },
      onreplay: () => { this.counters.replays++ },
      onclose: (subscriber) => this.#part(subscriber)
    }
    this.#endings = new Endings({ feed, log, texts, cohorts: this.#cohorts })
    // Each stream that is about to end waits for it.
    setMaxListeners(0, this.closing)
    this.#heartbeat = setInterval(() => this.#beat(), options.heartbeat).unref()
  }

  /** Streams and subscriptions that are open. */
  get subscribers (): number {
    return this.#subscribers
  }

  /** Whether one more would be too many. */
  get full (): boolean {
    return this.#subscribers >= this.#options.maxSubscribers
  }

  get closed (): boolean {
    return this.closing.aborted
  }

  /** Aborts when the app closes. */
  get closing (): AbortSignal {
    return this.#closing.signal
  }

  /**
   * Rows as they are committed, and before that the ones asked for with `after` or `tail`.
   * Ends when the run ends, when the signal aborts, or with the app. Reads at most one batch ahead.
   *
   * `Extra` is the type of the columns of `columns.extra`: `subscribe<{ host: string }>()`.
   * @throws FST_PG_TAIL_RUN, _LEVEL, _CURSOR, _OPTION (of `tail`), _FULL, _CLOSED
   */
  subscribe<Extra extends object = {}> ({ run, level, after, tail, signal }: SubscribeOptions = {}): RowIterator<LogRow<Extra>> {
    if (tail !== undefined && (!Number.isInteger(tail) || tail < 0 || tail > MAX_TAIL)) {
      throw new errors.Option('tail', String(tail), `give an integer from 0 to ${MAX_TAIL}`)
    }
    const stream = new RowStream()
    const levels = level === undefined ? null : parseLevels(typeof level === 'string' ? level.split(',') : level)
    const filter = { run: run === undefined ? null : this.#options.feed.parseRun(String(run)), levels }
    const start = after !== undefined ? { after: Cursor.parse(after) } : tail !== undefined ? { tail } : 'now'
    const subscriber = stream.subscriber = this.attach(filter, start, stream)
    if (signal?.aborted) subscriber.close()
    else if (signal !== undefined) {
      // Not by addEventListener's own `signal`: of several for one target, Node forgets all but the last (nodejs/node#63954).
      const close = () => subscriber.close()
      signal.addEventListener('abort', close, { once: true })
      subscriber.signal.addEventListener('abort', () => signal.removeEventListener('abort', close), { once: true })
    }
    // The columns are named by the options, which no type knows.
    return stream as RowIterator<LogRow<any>>
  }

  /**
   * Ends a run on every node: its streams get everything that is committed, then `stopped`.
   * @throws FST_PG_TAIL_RUN, _STOP (where the role may not), or why the database could not be asked
   */
  async stop (run: string | number | bigint, message?: string): Promise<void> {
    const { feed } = this.#options
    await feed.stopRun(feed.parseRun(String(run)), message ?? null)
  }

  /** Connects a sink. @throws FST_PG_TAIL_FULL, FST_PG_TAIL_CLOSED */
  attach (filter: Filter, start: Start, sink: Sink): Subscriber {
    const { feed, log, maxSubscribers, queueSize } = this.#options
    if (this.closed) throw new errors.Closed()
    if (this.full) {
      this.counters.rejected++
      throw new errors.Full(maxSubscribers)
    }
    const cohort = this.#cohorts.join(filter, queueSize)
    const subscriber = new Subscriber(this.#host, cohort, sink)
    cohort.subscribers.add(subscriber)
    this.#subscribers++
    this.counters.subscribed++
    log.debug({ filter, subscribers: this.#subscribers }, 'subscriber joined')
    subscriber.start(start)
    // A run may have ended before anybody watched it.
    if (filter.run !== null) feed.seekEnds()
    return subscriber
  }

  watched (): readonly string[] | null {
    return this.#cohorts.watched()
  }

  watches (run: string | null): boolean {
    return this.#cohorts.watches(run)
  }

  openRuns (): readonly string[] {
    return this.#cohorts.openRuns()
  }

  deliver (deliveries: Delivery[]): void {
    const { feed } = this.#options
    const touched = new Set<Cohort>()
    const all = this.#cohorts.of(null)
    for (const delivery of deliveries) {
      const { run } = delivery.row
      const own = run === null ? [] : this.#cohorts.of(run)
      if (own.length === 0 && all.length === 0) continue
      if (all.length > 0 && run !== null) this.#cohorts.see(run)
      const made = frame(delivery, feed.integerRuns)
      this.counters.frames++
      for (const cohorts of [own, all]) {
        for (const cohort of cohorts) {
          cohort.add(made)
          touched.add(cohort)
        }
      }
    }
    for (const cohort of touched) this.counters.deliveries += cohort.flush(feed.cursor) * cohort.subscribers.size
    const timestamp = deliveries.at(-1)?.row.content?.timestamp
    if (timestamp) this.#options.onlatency(this.#latency.record(timestamp))
  }

  reset (): void {
    this.#endings.forget()
    this.#cohorts.startAgain()
    for (const cohort of this.#cohorts) cohort.reset()
  }

  async end (end: RunEnd): Promise<void> {
    await this.#endings.tell(end)
  }

  /** The way in which rows arrive has changed, or whether they do at all: every client is told. */
  tellMode (): void {
    const notice = this.#sayMode('mode')
    for (const { subscribers } of this.#cohorts) {
      for (const subscriber of subscribers) subscriber.tell(notice)
    }
  }

  checkHealth (): void {
    const { isFailing } = this.#options.feed
    if (isFailing === this.#failing) return
    this.#failing = isFailing
    this.tellMode()
  }

  /** Ends every stream cleanly: clients come back elsewhere. Resolves once each has taken its end, or has had its time. */
  async close (): Promise<void> {
    this.#closing.abort()
    clearInterval(this.#heartbeat)
    await Promise.all([...this.#cohorts].flatMap(({ subscribers }) => [...subscribers].map((subscriber) => subscriber.close())))
  }

  /** Rings, subscribers and latency at this moment, as the status route has them. */
  status () {
    // Without inherited names: a run may be called `constructor`.
    const sizes: Record<string, number> = Object.create(null)
    let lagging = 0
    for (const { filter, ring, subscribers } of this.#cohorts) {
      const name = filter.run ?? 'all'
      sizes[name] = (sizes[name] ?? 0) + ring.frames
      for (const subscriber of subscribers) if (subscriber.state === 'replaying') lagging++
    }
    return {
      queues: {
        total_queues: this.#cohorts.size,
        total_notifications: Object.values(sizes).reduce((sum, size) => sum + size, 0),
        queue_sizes: sizes
      },
      subscribers: { current: this.#subscribers, max: this.#options.maxSubscribers, replaying: lagging, ...this.counters },
      /** Milliseconds from a row's timestamp to its write, of the last batches. */
      latency_ms: this.#latency.report()
    }
  }

  #sayMode (type: 'connected' | 'mode'): Notice {
    const { feed, mode: modeNow, texts } = this.#options
    const mode = modeNow()
    return { type, mode, message: feed.isFailing ? texts.unavailable() : texts[type](mode) }
  }

  #part (subscriber: Subscriber): void {
    const { feed, log } = this.#options
    const { cohort } = subscriber
    cohort.subscribers.delete(subscriber)
    this.#subscribers--
    if (cohort.subscribers.size === 0) this.#cohorts.remove(cohort)
    log.debug({ filter: cohort.filter, subscribers: this.#subscribers }, 'subscriber left')
    if (this.#subscribers > 0) return
    this.#endings.forget()
    feed.sleep()
    this.checkHealth()
  }

  #beat (): void {
    const now = performance.now()
    for (const { ring, subscribers } of this.#cohorts) {
      let needed = false
      for (const subscriber of subscribers) {
        needed ||= !subscriber.upToDate
        if (subscriber.isStalled(now, this.#options.stallTimeout)) {
          this.counters.stalled++
          subscriber.destroy()
        } else subscriber.heartbeat()
      }
      if (!needed) ring.clear()
    }
  }
}

/** @throws FST_PG_TAIL_LEVEL */
export function parseLevels (levels: readonly string[]): string[] {
  if (levels.length === 0 || levels.length > 32 || levels.some((level) => level === '' || level.length > 64 || level.includes('\0'))) throw new errors.Level()
  return [...new Set(levels)].sort()
}
