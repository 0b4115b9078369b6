import Fastify from 'fastify'
import fastifyPgTail from '../plugin.ts' // 'fastify-pg-tail' in an app of your own

const app = Fastify({ logger: true })

await app.register(fastifyPgTail, {
  connectionString: process.env.DATABASE_URL,
  table: 'public.scraper_log',
  stream: { public: true }
})

await app.listen({ port: 3000 }) // curl -N http://localhost:3000/logs/stream?tail=10
