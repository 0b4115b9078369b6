// What one would write by hand: LISTEN, one select after the last id, and each row to everybody who watches. The ways of
// sending differ: `hand-made.ts <raw | send | better-sse> <url>`. With `paced` it reads when ours would,
// by bells or after a pause, without LISTEN meanwhile, so that batches are alike; with a number it does not LISTEN, but reads each so many milliseconds, while it is told to. What it lacks: rows that commit
// late, clients that come back or read slowly, a session that dies.

import net from 'node:net'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fastifySSE } from '@fastify/sse'
import { createChannel, createSession } from 'better-sse'
import Fastify, { type FastifyReply } from 'fastify'
import postgres, { type ListenMeta, type Row } from 'postgres'
import { Pace } from '../../lib/tail/pace.ts'
import { serve } from '../support/child.ts'
import { COLUMNS, event, GREETING, message } from '../support/message.ts'

interface Filter { run: string | null, level: string | null }
interface Sender {
  listen: () => Promise<number>
  send: (rows: Row[]) => void
}

const SENDERS: Record<string, () => Sender> = { raw, send, 'better-sse': betterSse }
const [kind = '', url = '', timing] = process.argv.slice(2)
const sender = SENDERS[kind]!()
const port = await sender.listen()
const sql = postgres(url, { onnotice () {} })
let last = (await sql`select coalesce(max(id), 0)::text as id from scraper_log`)[0]!.id
let reading = false
let again = false
let active = false
/** Reads so far, and rows that were handed on. */
let reads = 0
let sent = 0
const pace = timing === 'paced' ? new Pace() : null
let hot = false
let bell: Promise<ListenMeta>
if (timing === undefined || pace !== null) {
  await sql.unsafe(`
    create or replace function bench_bell() returns trigger language plpgsql as $$ begin notify bench_bell; return null; end $$;
    create or replace trigger bench_bell after insert on scraper_log execute function bench_bell()`)
  await hear()
} else setInterval(() => active && read(), Number(timing))
serve({
  port: () => port,
  active (now: boolean) {
    active = now
  },
  /** Milliseconds that it takes to hand these rows to everybody. */
  pass (rows: Row[]) {
    const start = performance.now()
    sender.send(rows)
    return performance.now() - start
  },
  reads: () => reads,
  /** Resolves once the row with this id was read, or a later one: rows that each client has by then, or will have. */
  async reached (id: string) {
    while (BigInt(last) < BigInt(id)) await new Promise((resolve) => setTimeout(resolve, 5))
    return sent
  }
})

async function hear (): Promise<void> {
  bell = sql.listen('bench_bell', () => {
    if (hot) return
    hot = pace?.bell() ?? false
    // Awake: it reads without.
    if (hot) bell.then(({ unlisten }) => unlisten())
    read()
  })
  await bell
}

async function read (): Promise<void> {
  again = true
  if (reading) return
  reading = true
  while (again || hot) {
    again = false
    const rows = await sql`select ${sql.unsafe(COLUMNS)} from scraper_log where id > ${last} order by scraper_log.id limit 1000`
    reads++
    const start = performance.now()
    if (rows.length > 0) {
      last = rows.at(-1)!['id']
      sender.send(rows)
      sent += rows.length
    }
    again ||= rows.length === 1000
    pace?.note(rows.length, performance.now() - start)
    if (!hot || again) continue
    const pause = pace!.pause()
    hot = pause !== null
    if (pause !== null) {
      await sleep(pause)
      continue
    }
    pace!.start()
    await hear()
    // What came before it heard.
    again = true
  }
  reading = false
}

function matches (row: Row, { run, level }: Filter): boolean {
  return (run === null || row.run_id === run) && (level === null || row.level === level)
}

function filterOf (path: string): Filter {
  const query = new URLSearchParams(path.split('?')[1])
  return { run: query.get('run_id'), level: query.get('level') }
}

/**
 * Sockets without any framework: as fast as Node can be. Rows that are to go together are one buffer for all. They are sent at once,
 * as http.Server does it: with Nagle's algorithm a send costs half, but may wait 40 ms for the other side to acknowledge the one before.
 */
function raw (): Sender {
  const groups = new Map<string, { filter: Filter, sockets: Set<net.Socket> }>()
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.once('data', (request) => {
      const path = request.toString('latin1').split(' ', 2)[1]!
      const group = groups.get(path) ?? { filter: filterOf(path), sockets: new Set() }
      groups.set(path, group)
      group.sockets.add(socket)
      socket.on('close', () => group.sockets.delete(socket))
      socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n${GREETING}`)
    })
    socket.on('error', () => {})
  })
  return {
    listen: () => new Promise((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => resolve((server.address() as AddressInfo).port))),
    send (rows) {
      const events = rows.map((row) => ({ row, text: event(row) }))
      for (const { filter, sockets } of groups.values()) {
        const text = events.filter(({ row }) => matches(row, filter)).map(({ text }) => text).join('')
        if (text === '') continue
        const bytes = Buffer.from(text)
        for (const socket of sockets) socket.write(bytes)
      }
    }
  }
}

/** @fastify/sse as its README shows it: one send() for each message and client. */
function send (): Sender {
  const replies = new Map<FastifyReply, Filter>()
  const app = Fastify()
  app.register(fastifySSE)
  app.after(() => app.get('/logs/stream', { sse: true }, async (request, reply) => {
    reply.sse.keepAlive()
    await reply.sse.send({ data: { type: 'connected' } })
    replies.set(reply, filterOf(request.url))
    reply.sse.onClose(() => replies.delete(reply))
  }))
  return {
    async listen () {
      await app.listen({ port: 0, host: '127.0.0.1' })
      return (app.server.address() as AddressInfo).port
    },
    send (rows) {
      for (const row of rows) {
        const data = message(row)
        for (const [reply, filter] of replies) if (matches(row, filter)) reply.sse.send({ id: row.id, data }).catch(() => {})
      }
    }
  }
}

/** better-sse with its channels: one broadcast for each message. */
function betterSse (): Sender {
  const channel = createChannel<{ filter: Filter }>()
  const server = createServer(async (request, response) => {
    const session = await createSession(request, response, { state: { filter: filterOf(request.url!) } })
    session.push({ type: 'connected' })
    channel.register(session as never)
  })
  return {
    listen: () => new Promise((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => resolve((server.address() as AddressInfo).port))),
    send (rows) {
      for (const row of rows) {
        const data = message(row)
        channel.broadcast(data, 'message', { eventId: row.id, filter: (session: any) => matches(row, session.state.filter) })
      }
    }
  }
}
