import { fastifySSE } from '@fastify/sse'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { readOptions, type FastifyPgTailOptions } from './lib/options.ts'
import type { LogQueue } from './lib/queue/log-queue.ts'
import { statusRoute } from './lib/routes/status.ts'
import { streamRoute } from './lib/routes/stream.ts'
import { viewerRoute } from './lib/routes/viewer.ts'
import { Service } from './lib/service.ts'
import type { NotifyListener } from './lib/tail/notify-listener.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The session that LISTENs: its state, and events when that changes. */
    notifyListener: NotifyListener
    /** Rows as they are committed: `subscribe()` to them in-process, `stop()` a run. */
    logQueue: LogQueue
  }
}

async function fastifyPgTail (app: FastifyInstance, given: FastifyPgTailOptions): Promise<void> {
  const options = readOptions(given)
  const { logLevel, logSerializers } = given
  const service = new Service(options, app.log)

  app.decorate('notifyListener', service.listener)
  app.decorate('logQueue', service.queue)

  app.addHook('onReady', () => service.start())
  // Streams end before the server waits for its connections; sessions close once nobody needs them.
  app.addHook('preClose', () => service.queue.close())
  app.addHook('onClose', () => service.close())

  if (!app.hasPlugin('@fastify/sse')) await app.register(fastifySSE)
  await app.register(async (routes) => {
    streamRoute(routes, options, service.queue, service.feed)
    statusRoute(routes, options, () => service.status())
    if (options.viewer !== null) await viewerRoute(routes, options, options.viewer, service.feed)
  }, { prefix: options.prefix, ...logLevel && { logLevel }, ...logSerializers && { logSerializers } })
}

const plugin = fp(fastifyPgTail, { fastify: '5.x', name: 'fastify-pg-tail' })

export default plugin
// So that require() gives the function itself.
export { plugin, plugin as 'module.exports' }
export type { FastifyPgTailOptions, RouteOptions, ViewerRouteOptions, Authorize } from './lib/options.ts'
export type { SubscribeOptions, LogQueue } from './lib/queue/log-queue.ts'
export type { LogRow } from './lib/row.ts'
export type { ListenerState, ListenerStatus, Mode, NotifyListener } from './lib/tail/notify-listener.ts'
