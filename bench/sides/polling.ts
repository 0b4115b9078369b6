// Each client asks the table once a second, as pages do that were made in an afternoon.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import { serve } from '../support/child.ts'
import { COLUMNS, event, GREETING } from '../support/message.ts'

const sql = postgres(process.argv[2] ?? '', { max: 10 })
const server = createServer(async (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(GREETING)
  let last = '0'
  let reading = false
  const timer = setInterval(async () => {
    if (reading) return
    reading = true
    const rows = await sql`select ${sql.unsafe(COLUMNS)} from scraper_log where id > ${last} order by scraper_log.id`
    reading = false
    if (rows.length === 0) return
    last = rows.at(-1)!.id
    response.write(rows.map(event).join(''))
  }, 1000)
  response.on('close', () => clearInterval(timer))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => serve({ port: () => (server.address() as AddressInfo).port }))
