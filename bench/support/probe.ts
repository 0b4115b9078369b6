// One client, and rows that it waits for.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'

/** Connects a client. Returns what writes so many rows, with pauses of 10 to 30 ms, and tells by how many milliseconds each came after its COMMIT was sent. */
export async function openProbe (sql: Sql, port: number): Promise<(rows: number) => Promise<number[]>> {
  let expected = ''
  let arrived: () => void = () => {}
  const socket = net.connect(port, '127.0.0.1')
  socket.setNoDelay(true)
  let text = ''
  const greeted = new Promise<void>((resolve) => socket.once('data', () => resolve()))
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1')
    if (expected !== '' && text.includes(expected)) {
      text = ''
      arrived()
    }
  })
  socket.write('GET /logs/stream HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n')
  socket.unref()
  await greeted
  const session = await sql.reserve()
  let count = 0
  return async (rows) => {
    const latencies: number[] = []
    for (let i = 0; i < rows; i++) {
      await sleep(10 + Math.random() * 20)
      const message = `row ${++count} of ${port}.`
      await session`begin`
      await session`insert into scraper_log (run_id, message) values (1, ${message})`
      const came = new Promise<void>((resolve) => { arrived = resolve })
      expected = message
      const start = performance.now()
      const committed = session`commit`.execute()
      await came
      latencies.push(performance.now() - start)
      await committed
    }
    return latencies
  }
}
