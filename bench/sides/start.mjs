// Plain JavaScript, and the plugin as it is published: `npm run build` first.
import { fastifySSE } from '@fastify/sse'
import Fastify from 'fastify'

const [url] = process.argv.slice(2)
const app = Fastify()
await app.register(fastifySSE)
if (url !== undefined) {
  const { default: fastifyPgTail } = await import('../../dist/plugin.js')
  await app.register(fastifyPgTail, { connectionString: url, table: 'public.scraper_log', install: true })
}
await app.ready()
console.log(JSON.stringify({ milliseconds: performance.now(), bytes: process.memoryUsage().rss }))
await app.close()
