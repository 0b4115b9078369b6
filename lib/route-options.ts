import { integer, MAX_TIMER, object, wrong } from './checks.ts'
import type { FastifyPgTailOptions, MetricsRegistry, RouteOptions, StreamRouteOptions, ViewerRouteOptions } from './settings.ts'

/** Without a registry of the host's, with a route. */
export interface MetricsOptions { registry: MetricsRegistry | null, route: RouteOptions | null }
export type ViewerOptions = ViewerRouteOptions & { levels: string[] }

export function readPath (name: string, path: unknown): string {
  if (path === '') return ''
  if (typeof path !== 'string' || !path.startsWith('/') || path === '/') throw wrong(name, path, 'give a path such as /logs')
  return path.replace(/\/$/, '')
}

export function readStream (given: StreamRouteOptions): StreamRouteOptions & { reauthorize: number } {
  const { reauthorize = 0, ...route } = object('stream', given)
  integer('stream.reauthorize', reauthorize, 0, MAX_TIMER)
  if (reauthorize > 0 && route.authorize === undefined) throw wrong('stream.reauthorize', reauthorize, 'set stream.authorize, which is to be asked')
  return { ...readRoute('stream', route, '/stream'), reauthorize }
}

export function readMetrics (given: FastifyPgTailOptions['metrics']): MetricsOptions | null {
  if (given === undefined) return null
  const { registry, ...route } = object('metrics', given) as { registry?: MetricsRegistry }
  if (registry === undefined) return { registry: null, route: readRoute('metrics', route, '/metrics') }
  if (typeof registry?.registerMetric !== 'function') throw wrong('metrics.registry', registry, 'give a Registry of prom-client')
  const [other] = Object.keys(route)
  if (other !== undefined) throw wrong(`metrics.${other}`, 'given', 'leave it out: a registry of your own is served by you')
  return { registry, route: null }
}

export function readViewer (given: boolean | ViewerRouteOptions): ViewerOptions | null {
  if (given === false) return null
  const { levels = ['DEBUG', 'INFO', 'WARNING', 'ERROR'], ...route } = given === true ? {} : object<ViewerRouteOptions>('viewer', given)
  if (!Array.isArray(levels) || levels.length > 32 || levels.some((level) => typeof level !== 'string' || !/^[^,\0]{1,64}$/.test(level))) {
    throw wrong('viewer.levels', levels, "give names of levels, such as ['info', 'error']")
  }
  return { ...readRoute('viewer', route, ''), levels: [...levels] }
}

/** Ordinary options of Fastify are handed through, so what is not ours may be theirs. */
export function readRoute (name: string, route: RouteOptions, path: string): RouteOptions {
  const { authorize, public: open, ...others } = object(name, route)
  if ('reauthorize' in others) throw wrong(`${name}.reauthorize`, others.reauthorize, 'only streams stay open: leave it out')
  if (authorize !== undefined && typeof authorize !== 'function') throw wrong(`${name}.authorize`, authorize, 'give a function that returns true or false')
  if (open !== undefined && typeof open !== 'boolean') throw wrong(`${name}.public`, open, 'give true or false')
  return { ...route, path: readPath(`${name}.path`, route.path ?? path) }
}
