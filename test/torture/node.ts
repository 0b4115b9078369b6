// A node of the torture run: `node --expose-gc --import tsx node.ts <connection string> <table> <options as JSON> <clock>`.
// Prints its URL; ends, cleanly, with its standard input. A clock may be right or wrong.

import Fastify from 'fastify'
import fastifyPgTail from '../../plugin.ts'

const [connectionString = '', table = '', options = '{}', clock] = process.argv.slice(2)
if (clock === 'wrong') setClockWrong()
const app = Fastify({ logger: { level: 'warn', stream: process.stderr } })
await app.register(fastifyPgTail, { connectionString, table, stream: { public: true }, status: { public: true }, ...JSON.parse(options) })
app.get('/memory', () => {
  gc!()
  return { heap: process.memoryUsage().heapUsed, rss: process.memoryUsage().rss }
})
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
process.stdin.on('end', () => app.close()).resume()

/** What time it is changes every second, by days. */
function setClockWrong (): void {
  const RightDate = Date
  const now = () => RightDate.now() + (performance.now() / 1000 * 7919 % 20 - 10 | 0) * 86_400_000
  globalThis.Date = new Proxy(RightDate, {
    construct: (_target, args) => args.length === 0 ? new RightDate(now()) : Reflect.construct(RightDate, args),
    get: (target, name) => name === 'now' ? now : Reflect.get(target, name)
  })
}
