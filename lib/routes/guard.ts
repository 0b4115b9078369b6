import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import type { RouteOptions, StreamRouteOptions } from '../settings.ts'

export const HOOKS = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const

/** Whether somebody has said who may use this route, or that everybody may. */
export function isGuarded (route: RouteOptions): boolean {
  return route.public === true || route.authorize !== undefined || HOOKS.some((hook) => {
    const hooks = route[hook]
    return Array.isArray(hooks) ? hooks.length > 0 : hooks !== undefined
  })
}

/** The hooks by which it is guarded. */
export function hooksOf (route: RouteOptions): RouteOptions {
  return Object.fromEntries(HOOKS.filter((hook) => route[hook] !== undefined).map((hook) => [hook, route[hook]]))
}

/**
 * For a route that is closed until the options say who may use it.
 * @param table its name in the options; null where it is of all
 * @throws FST_PG_TAIL_FORBIDDEN
 */
export async function admit (request: FastifyRequest, route: RouteOptions, name: 'status' | 'metrics', table: string | null): Promise<void> {
  if (!isGuarded(route)) {
    throw new errors.Forbidden(`the ${name} route is closed: set ${name}.authorize, a hook such as ${name}.onRequest, or ${name}.public: true`)
  }
  if (route.authorize !== undefined && await route.authorize(request, { run: null, table }) !== true) {
    throw new errors.Forbidden(`you may not read the ${name}`)
  }
}

/** The route options that are Fastify's. */
export function routeOptions ({ path, authorize, public: _public, reauthorize, ...rest }: StreamRouteOptions) {
  return rest
}

export interface Permit {
  ask: () => boolean | Promise<boolean>
  /** Milliseconds from one question to the next. */
  interval: number
  /** Aborts when nobody has to be asked any more. */
  signal: AbortSignal
  log: FastifyBaseLogger
  /** It is taken away. */
  onrevoke: () => void
}

/** Asks again and again. Only a yes in time is a yes: where nobody can tell, the permit is taken away, too. */
export function keepAsking ({ ask, interval, signal, log, onrevoke }: Permit): void {
  let asking = false
  const revoke = (why: string, error?: unknown) => {
    if (signal.aborted) return
    log.info({ err: error }, `${why}: the stream ends`)
    onrevoke()
  }
  const timer = setInterval(async () => {
    if (asking) return revoke('authorize did not answer in time')
    asking = true
    try {
      if (await ask() !== true) revoke('authorize says no by now')
    } catch (error) {
      revoke('authorize failed', error)
    } finally {
      asking = false
    }
  }, interval).unref()
  signal.addEventListener('abort', () => clearInterval(timer), { once: true })
}
