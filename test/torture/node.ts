// A node of the torture run: `node --expose-gc --import tsx node.ts <connection string> <table> <options as JSON>`.
// Prints its URL; ends, cleanly, with its standard input.

import Fastify from 'fastify'
import fastifyPgTail from '../../plugin.ts'

const [connectionString = '', table = '', options = '{}'] = process.argv.slice(2)
const app = Fastify({ logger: { level: 'warn', stream: process.stderr } })
await app.register(fastifyPgTail, { connectionString, table, stream: { public: true }, status: { public: true }, ...JSON.parse(options) })
app.get('/memory', () => {
  gc!()
  return { heap: process.memoryUsage().heapUsed, rss: process.memoryUsage().rss }
})
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
process.stdin.on('end', () => app.close()).resume()
