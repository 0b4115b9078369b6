import type { RouteOptions } from '../options.ts'

const HOOKS = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const

/** Whether somebody has said who may use this route, or that everybody may. */
export function isGuarded (route: RouteOptions): boolean {
  return route.public === true || route.authorize !== undefined || HOOKS.some((hook) => {
    const hooks = route[hook]
    return Array.isArray(hooks) ? hooks.length > 0 : hooks !== undefined
  })
}

/** The route options that are Fastify's. */
export function routeOptions ({ path, authorize, public: _public, ...rest }: RouteOptions) {
  return rest
}
