// A node of its own process: `node --import tsx node.ts <connection string> <options as JSON>`.
// Prints its URL, ends with its standard input.

import Fastify from 'fastify'
import fastifyPgTail from '../../plugin.ts'

const [connectionString = '', options = '{}'] = process.argv.slice(2)
const app = Fastify()
await app.register(fastifyPgTail, { connectionString, table: 'public.scraper_log', stream: { public: true }, status: { public: true }, ...JSON.parse(options) })
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
process.stdin.on('end', () => app.close()).resume()
