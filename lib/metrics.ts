import type * as Prometheus from 'prom-client'
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { wrong } from './checks.ts'
import type { MetricsRegistry } from './settings.ts'

/** What an app's metrics say at one moment. */
export interface Figures {
  /** Of the session that listens for all tables. */
  reconnects: number
  /** Percent; null until it was asked for. */
  queueUsage: number | null
  tables: TableFigures[]
}

export interface TableFigures {
  /** As the options call it: that stays, whatever becomes of the table. */
  table: string
  rows: number
  reads: number
  looks: number
  resets: number
  bells: number
  listening: boolean
  gaps: number
  frames: number
  deliveries: number
  bytes: number
  subscribers: number
  replaying: number
  replays: number
  lagged: number
  stalled: number
  rejected: number
}

interface Metric {
  help: string
  read: (figures: Figures) => Array<[labels: { table?: string }, value: number]>
  /** What a gauge says where several apps share it. Default: the sum. */
  join?: (one: number, other: number) => number
}

const PREFIX = 'fastify_pg_tail_'

/** A value for each table. */
const of = (read: (figures: TableFigures) => number): Metric['read'] => ({ tables }) => tables.map((figures) => [{ table: figures.table }, read(figures)])

/** Those that end in `_total` only grow. */
const METRICS: Record<string, Metric> = {
  rows_total: { help: 'Rows that were read for the first time.', read: of(({ rows }) => rows) },
  reads_total: { help: 'Reads of the table after the watermark.', read: of(({ reads }) => reads) },
  looks_total: { help: 'Looks at the locks, while ids are missing.', read: of(({ looks }) => looks) },
  resets_total: { help: 'Starts from the beginning, because ids ran backwards.', read: of(({ resets }) => resets) },
  bells_total: { help: 'Notifications that were heard.', read: of(({ bells }) => bells) },
  reconnects_total: { help: 'Sessions of the listener after the first.', read: ({ reconnects }) => [[{}, reconnects]] },
  frames_total: { help: 'Rows that were made into events for clients that are up to date.', read: of(({ frames }) => frames) },
  deliveries_total: { help: 'Events times the clients that they went to, live.', read: of(({ deliveries }) => deliveries) },
  bytes_total: { help: 'Bytes of rows that were written to responses, live or replayed.', read: of(({ bytes }) => bytes) },
  replays_total: { help: 'Pages that were read from the table for one client alone.', read: of(({ replays }) => replays) },
  lagged_total: { help: 'Clients that fell out of their ring, and read on from the table.', read: of(({ lagged }) => lagged) },
  stalled_total: { help: 'Clients that were cut off, because they took nothing.', read: of(({ stalled }) => stalled) },
  rejected_total: { help: 'Clients that were turned away, because all places were taken.', read: of(({ rejected }) => rejected) },
  subscribers: { help: 'Clients that watch.', read: of(({ subscribers }) => subscribers) },
  subscribers_replaying: { help: 'Clients that are behind, and read the table.', read: of(({ replaying }) => replaying) },
  listening: { help: '1 while bells are heard, 0 while rows are polled for.', read: of(({ listening }) => Number(listening)), join: Math.min },
  gaps: { help: 'Ranges of ids that are missing, and may still appear.', read: of(({ gaps }) => gaps), join: Math.max },
  notification_queue_usage_ratio: {
    help: "How full the server's queue of notifications is, from 0 to 1.",
    read: ({ queueUsage }) => queueUsage === null ? [] : [[{}, queueUsage / 100]],
    join: Math.max
  }
}

const LATENCY = {
  name: `${PREFIX}latency_seconds`,
  help: "From a row's own timestamp to its write, the last row of each batch.",
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]
}

/** What one registry shows, of one app or several. */
class Board {
  readonly latency: Histogram
  readonly #counters = new Map<string, Counter>()
  readonly #gauges = new Map<string, Gauge>()
  /** With what was counted of each so far: what an app has counted stays when it closes. */
  readonly #apps = new Map<() => Figures, Map<string, number>>()
  #collected = false

  constructor ({ Counter, Gauge, Histogram }: Omit<typeof Prometheus, 'default'>, registry: Registry) {
    const common = { labelNames: ['table'], registers: [registry] }
    this.latency = new Histogram({ ...common, ...LATENCY })
    for (const [name, { help }] of Object.entries(METRICS)) {
      // Asked for when somebody wants to know: what hands on rows knows nothing of it.
      const config = { ...common, name: PREFIX + name, help, collect: () => this.#collect() }
      if (name.endsWith('_total')) this.#counters.set(name, new Counter(config))
      else this.#gauges.set(name, new Gauge(config))
    }
  }

  add (figures: () => Figures): void {
    this.#apps.set(figures, new Map())
  }

  remove (figures: () => Figures): void {
    this.#collect()
    this.#apps.delete(figures)
    this.#collected = false
  }

  /** For all metrics at once: a scrape asks them in one tick. */
  #collect (): void {
    if (this.#collected) return
    this.#collected = true
    queueMicrotask(() => { this.#collected = false })
    const apps = [...this.#apps].map(([figures, counted]) => ({ figures: figures(), counted }))
    for (const [name, counter] of this.#counters) {
      for (const { figures, counted } of apps) {
        for (const [labels, value] of METRICS[name]!.read(figures)) {
          const key = `${name} ${labels.table}`
          counter.inc(labels, value - (counted.get(key) ?? 0))
          counted.set(key, value)
        }
      }
    }
    for (const [name, gauge] of this.#gauges) {
      const { read, join = (one, other) => one + other } = METRICS[name]!
      const values = new Map<string | undefined, number>()
      for (const { figures } of apps) {
        for (const [{ table }, value] of read(figures)) {
          const other = values.get(table)
          values.set(table, other === undefined ? value : join(other, value))
        }
      }
      gauge.reset()
      for (const [table, value] of values) gauge.set(table === undefined ? {} : { table }, value)
    }
  }
}

const boards = new WeakMap<Registry, Board>()

/** The metrics of an app's tables, in a registry of prom-client. */
export class Metrics {
  readonly registry: Registry
  readonly #board: Board
  readonly #figures: () => Figures

  /**
   * @param registry the host's; null: one of our own
   * @throws FST_PG_TAIL_OPTION where prom-client is not installed
   */
  static async create (registry: MetricsRegistry | null, figures: () => Figures): Promise<Metrics> {
    // Only who wants metrics needs it.
    const { default: client } = await import('prom-client').catch((error) => {
      throw error.code === 'ERR_MODULE_NOT_FOUND' ? wrong('metrics', 'given', 'install prom-client, which makes them: npm install prom-client') : error
    })
    return new Metrics(client, registry as Registry ?? new client.Registry(), figures)
  }

  private constructor (client: Omit<typeof Prometheus, 'default'>, registry: Registry, figures: () => Figures) {
    let board = boards.get(registry)
    // The host may have cleared it.
    if (board === undefined || registry.getSingleMetric(LATENCY.name) !== board.latency) boards.set(registry, board = new Board(client, registry))
    board.add(figures)
    this.registry = registry
    this.#board = board
    this.#figures = figures
  }

  /** @param latency milliseconds */
  observe (table: string, latency: number): void {
    this.#board.latency.observe({ table }, Math.max(latency, 0) / 1000)
  }

  /** The registry may outlive the app. */
  remove (): void {
    this.#board.remove(this.#figures)
  }
}
