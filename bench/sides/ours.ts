// The plugin in a Fastify app: `ours.ts <url> <options as JSON>`.

import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { reach } from '../../test/support/app.ts'
import { serve } from '../support/child.ts'

const [connectionString = '', options = '{}'] = process.argv.slice(2)
// The built one: tsx keeps the names of functions, for which each closure takes a call and 256 bytes more.
const { default: fastifyPgTail }: typeof import('../../plugin.ts') = await import(new URL('../../dist/plugin.js', import.meta.url).href)
const app = Fastify()
await app.register(fastifyPgTail, {
  connectionString, table: 'public.scraper_log', install: true, maxSubscribers: 100_000, stream: { public: true }, status: { public: true }, ...JSON.parse(options)
})
await app.listen({ port: 0, host: '127.0.0.1' })
await reach(app, 'listening')

serve({
  port: () => (app.server.address() as AddressInfo).port,
  status,
  /** So far. */
  reads: async () => (await status()).tailer.reads,
  /** Resolves once the doorbell is in this state: `armed`, say, where it is quiet. */
  async doorbell (state: string) {
    while ((await status()).doorbell.state !== state) await new Promise((resolve) => setTimeout(resolve, 5))
  }
})

async function status (): Promise<any> {
  return (await app.inject('/logs/status')).json()
}
