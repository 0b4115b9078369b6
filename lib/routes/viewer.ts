import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import type { Feed } from '../queue/feed.ts'
import type { ViewerOptions } from '../route-options.ts'
import type { TableOptions } from '../table-options.ts'
import { asset, PAGE_HEADERS, readAssets, type Asset } from './assets.ts'
import { hooksOf, isGuarded, routeOptions } from './guard.ts'
import { refusal } from './refusal.ts'

const querystring = {
  type: 'object',
  properties: {
    run_id: { type: 'string', minLength: 1, maxLength: 256, description: 'Only rows of this run; without it, rows of all runs' }
  }
} as const

const schema = {
  summary: 'A page that shows the log',
  tags: ['logs'],
  querystring,
  response: {
    200: { description: 'The page', content: { 'text/html': { schema: { type: 'string' } } } },
    403: refusal('You may not watch this log')
  }
}

/** From @fastify/swagger. */
const HIDDEN: object = { hide: true }

/** `GET {prefix}/`: the viewer. The page is for whoever may watch the stream, unless its own options say who: then its own hooks, whatever they do, are its guard. */
export async function viewerRoute (app: FastifyInstance, { name: table, prefix, stream, heartbeat }: TableOptions, viewer: ViewerOptions, feed: Feed): Promise<void> {
  const assets = await readAssets()
  const { levels, ...route } = viewer
  const guard = isGuarded(route) ? route : stream
  // No less than the client's own: a quiet stream says nothing but its heartbeats.
  const timeout = Math.max(45_000, 3 * heartbeat)
  const page = makePage(assets, { stream: relative(`${prefix}${viewer.path}/`, prefix + stream.path), timeout, levels })

  await app.register(async (routes) => {
    routes.get<{ Querystring: { run_id?: string } }>('/', {
      schema,
      // Nothing of its own can be in the place of a guard that it borrows, such as a hook that is undefined.
      ...routeOptions(guard === stream ? { ...stream, ...route, ...hooksOf(stream) } : route)
    }, async (request, reply) => {
      const { run_id: run } = request.query
      if (guard.authorize !== undefined && await guard.authorize(request, { run: run === undefined ? null : feed.parseRun(run), table }) !== true) {
        throw new errors.Forbidden('you may not watch this log')
      }
      const [path = ''] = request.url.split('?', 1)
      // What the page asks for is relative to a folder. So is this: a proxy may have cut off what comes before. By the dot a colon in a name makes no scheme.
      if (!path.endsWith('/')) return reply.redirect(`./${path.split('/').at(-1)}/${request.url.slice(path.length)}`)
      return send(request, reply, page)
    })

    // The same for everybody, and public: they are in the package. A guard that asks for the run could not let them through.
    routes.get<{ Params: { '*': string } }>('/assets/*', { logLevel: 'warn', schema: HIDDEN }, async (request, reply) => {
      const found = assets.get(request.params['*'])
      if (found === undefined || found.type.startsWith('text/html')) return reply.callNotFound()
      return send(request, reply, found)
    })
  }, { prefix: viewer.path! })
}

function send ({ headers }: FastifyRequest, reply: FastifyReply, { type, body, etag }: Asset): FastifyReply {
  reply.headers({ ...PAGE_HEADERS, etag })
  // A proxy that compresses makes them weak.
  const known = headers['if-none-match']?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag)
  return known ? reply.code(304).send() : reply.type(type).send(body)
}

/** The modules are named in it, so that they come all at once and not one after the other. */
function makePage (assets: Map<string, Asset>, options: object): Asset {
  const { body, type } = assets.get('viewer/index.html')!
  const modules = [...assets.keys()].filter((path) => path.endsWith('.js')).map((path) => `<link rel="modulepreload" href="assets/${path}">`)
  return asset(body
    .replace('{{options}}', () => JSON.stringify(options).replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;'))
    .replace('{{modules}}', () => modules.join('\n  ')), type)
}

/** From the folder `from`, which ends with a slash, to a path. */
function relative (from: string, to: string): string {
  const folders = from.split('/').slice(1, -1)
  const path = to.split('/').slice(1)
  let same = 0
  while (same < folders.length && same < path.length - 1 && folders[same] === path[same]) same++
  return '../'.repeat(folders.length - same) + path.slice(same).join('/')
}
