import type * as Prometheus from 'prom-client'
import type { Histogram, Registry } from 'prom-client'
import { wrong } from './checks.ts'
import type { MetricsRegistry } from './options.ts'

/** What a table's metrics say at one moment. */
export interface Figures {
  table: string
  rows: number
  reads: number
  looks: number
  resets: number
  bells: number
  reconnects: number
  listening: boolean
  /** Percent; null until it was asked for. */
  queueUsage: number | null
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

const PREFIX = 'fastify_pg_tail_'

/** Of these, those that end in `_total` only grow. */
const METRICS: Record<string, [help: string, read: (figures: Figures) => number | null]> = {
  rows_total: ['Rows that were read for the first time.', ({ rows }) => rows],
  reads_total: ['Reads of the table after the watermark.', ({ reads }) => reads],
  looks_total: ['Looks at the locks, while ids are missing.', ({ looks }) => looks],
  resets_total: ['Starts from the beginning, because ids ran backwards.', ({ resets }) => resets],
  bells_total: ['Notifications that were heard.', ({ bells }) => bells],
  reconnects_total: ['Sessions of the listener after the first.', ({ reconnects }) => reconnects],
  frames_total: ['Rows that were made into events.', ({ frames }) => frames],
  deliveries_total: ['Events times the clients that they went to, live.', ({ deliveries }) => deliveries],
  bytes_total: ['Bytes of events that were written to responses.', ({ bytes }) => bytes],
  replays_total: ['Pages that were read from the table for one client alone.', ({ replays }) => replays],
  lagged_total: ['Clients that fell out of their ring, and read on from the table.', ({ lagged }) => lagged],
  stalled_total: ['Clients that were cut off, because they took nothing.', ({ stalled }) => stalled],
  rejected_total: ['Clients that were turned away, because all places were taken.', ({ rejected }) => rejected],
  subscribers: ['Clients that watch.', ({ subscribers }) => subscribers],
  subscribers_replaying: ['Clients that are behind, and read the table.', ({ replaying }) => replaying],
  listening: ['1 while bells are heard, 0 while rows are polled for.', ({ listening }) => Number(listening)],
  gaps: ['Ranges of ids that are missing, and may still appear.', ({ gaps }) => gaps],
  notification_queue_usage_ratio: ["How full the server's queue of notifications is, from 0 to 1.", ({ queueUsage }) => queueUsage === null ? null : queueUsage / 100]
}

const LATENCY = {
  name: `${PREFIX}latency_seconds`,
  help: "From a row's own timestamp to its write, the last row of each batch.",
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]
}

/** Whose figures a registry shows: one registry may serve several apps. */
const sources = new WeakMap<Registry, Set<() => Figures[]>>()

/** The metrics of an app's tables, in a registry of prom-client. */
export class Metrics {
  readonly registry: Registry
  readonly #figures: () => Figures[]
  readonly #latency: Histogram

  /**
   * @param registry the host's; null: one of our own
   * @throws FST_PG_TAIL_OPTION where prom-client is not installed
   */
  static async create (registry: MetricsRegistry | null, figures: () => Figures[]): Promise<Metrics> {
    // Only who wants metrics needs it.
    const { default: client } = await import('prom-client').catch(() => {
      throw wrong('metrics', registry ?? true, 'run npm install prom-client, which makes them')
    })
    return new Metrics(client, registry as Registry ?? new client.Registry(), figures)
  }

  private constructor ({ Counter, Gauge, Histogram }: Omit<typeof Prometheus, 'default'>, registry: Registry, figures: () => Figures[]) {
    this.registry = registry
    this.#figures = figures
    const all = sources.get(registry) ?? new Set()
    sources.set(registry, all.add(figures))
    const common = { labelNames: ['table'], registers: [] }
    if (registry.getSingleMetric(LATENCY.name) === undefined) registry.registerMetric(new Histogram({ ...common, ...LATENCY }))
    this.#latency = registry.getSingleMetric(LATENCY.name) as Histogram
    for (const [short, [help, read]] of Object.entries(METRICS)) {
      const name = PREFIX + short
      if (registry.getSingleMetric(name) !== undefined) continue
      const Metric = short.endsWith('_total') ? Counter : Gauge
      const metric = new Metric({
        ...common,
        name,
        help,
        // Asked for when somebody wants to know: what hands on rows knows nothing of it.
        collect () {
          this.reset()
          for (const figures of [...all].flatMap((figures) => figures())) {
            const value = read(figures)
            if (value !== null) this.inc({ table: figures.table }, value)
          }
        }
      })
      registry.registerMetric(metric as Prometheus.Metric)
    }
  }

  /** @param latency milliseconds */
  observe (table: string, latency: number): void {
    this.#latency.observe({ table }, Math.max(latency, 0) / 1000)
  }

  /** The registry may outlive the app. */
  remove (): void {
    sources.get(this.registry)?.delete(this.#figures)
  }
}
