import { fastifySSE } from '@fastify/sse'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Metrics } from './lib/metrics.ts'
import { readOptions, type FastifyPgTailOptions } from './lib/options.ts'
import type { AppLogQueue } from './lib/queue/log-queue.ts'
import { metricsRoute } from './lib/routes/metrics.ts'
import { statusRoute } from './lib/routes/status.ts'
import { streamRoute } from './lib/routes/stream.ts'
import { viewerRoute } from './lib/routes/viewer.ts'
import { Service } from './lib/service.ts'
import { SqliteService } from './lib/sqlite/sqlite-service.ts'
import type { Listener } from './lib/tail/notify-listener.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The session that LISTENs: its state, events when that changes, and `isReady()` for probes. */
    notifyListener: Listener
    /** Rows as they are committed: `subscribe()` to them in-process, `stop()` a run. With `tables`, those of the first. */
    logQueue: AppLogQueue
    /** One for each table, by its name in `tables`; a single one by what the option `table` says. */
    logQueues: Record<string, AppLogQueue>
  }
}

async function fastifyPgTail (app: FastifyInstance, given: FastifyPgTailOptions): Promise<void> {
  const options = readOptions(given)
  const { logLevel, logSerializers } = given
  const service = options.sqlite === null ? new Service(options, app.log) : new SqliteService(options.sqlite, options, app.log)

  const metrics = options.metrics === null ? null : await Metrics.create(options.metrics.registry, () => service.figures())
  if (metrics !== null) {
    service.onlatency = (table, latency) => metrics.observe(table, latency)
    app.addHook('onClose', async () => metrics.remove())
  }

  const listener: Listener = service.listener
  app.decorate('notifyListener', listener)
  const logs = [...service.logs]
  app.decorate('logQueue', logs[0]![1].queue)
  app.decorate('logQueues', Object.fromEntries(logs.map(([, { options, queue }]) => [options.name, queue])))

  app.addHook('onReady', () => service.start())
  // Streams end before the server waits for its connections; sessions close once nobody needs them.
  app.addHook('preClose', () => service.endStreams())
  app.addHook('onClose', () => service.close())

  if (!app.hasPlugin('@fastify/sse')) await app.register(fastifySSE)
  const own = { ...logLevel && { logLevel }, ...logSerializers && { logSerializers } }
  for (const [, log] of logs) {
    await app.register(async (routes) => {
      streamRoute(routes, log.options, log.queue, log.feed)
      statusRoute(routes, log.options, () => log.status())
      if (log.options.viewer !== null) await viewerRoute(routes, log.options, log.options.viewer, log.feed)
    }, { prefix: log.options.prefix, ...own })
  }
  if (metrics !== null && options.metrics?.route) {
    const { route } = options.metrics
    await app.register(async (routes) => metricsRoute(routes, route, metrics.registry), { prefix: options.prefix, ...own })
  }
}

const plugin = fp(fastifyPgTail, { fastify: '5.x', name: 'fastify-pg-tail' })

export default plugin
// So that require() gives the function itself.
export { plugin, plugin as 'module.exports' }
export type { FastifyPgTailOptions, TableSettings, RouteOptions, StreamRouteOptions, ViewerRouteOptions, MetricsRegistry, Authorize } from './lib/settings.ts'
export type { Columns } from './lib/postgres/table.ts'
export type { SubscribeOptions, AppLogQueue as LogQueue } from './lib/queue/log-queue.ts'
export type { RowIterator } from './lib/queue/row-stream.ts'
export type { Texts } from './lib/queue/texts.ts'
export type { LogRow } from './lib/row.ts'
export type { ListenerState, Mode } from './lib/tail/channel.ts'
export type { ListenerStatus, ReconnectOptions, Listener as NotifyListener } from './lib/tail/notify-listener.ts'
