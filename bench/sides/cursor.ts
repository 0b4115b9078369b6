// A table, from its start to its end, as events on a raw socket. And psql, which copies it to nowhere.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import postgres from 'postgres'
import { serve } from '../support/child.ts'
import { COLUMNS, event, GREETING } from '../support/message.ts'

const url = process.argv[2] ?? ''
const sql = postgres(url)
const server = net.createServer(async (socket) => {
  socket.on('error', () => {})
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n${GREETING}`)
  for await (const rows of sql`select ${sql.unsafe(COLUMNS)} from scraper_log order by scraper_log.id`.cursor(1000)) {
    if (!socket.write(rows.map(event).join(''))) await once(socket, 'drain')
  }
})
server.listen(0, '127.0.0.1', () => serve({
  port: () => (server.address() as AddressInfo).port,
  async psql () {
    const child = spawn('psql', ['-c', 'copy (select * from scraper_log order by id) to stdout', url], { stdio: ['ignore', 'ignore', 'inherit'] })
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`psql ended with ${code}`)
  }
}))
