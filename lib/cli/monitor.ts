import { setTimeout as delay } from 'node:timers/promises'
import type { Call, Command } from './command.ts'
import { errorText } from './failure.ts'
import { HEADER, readEndpoint, Refused, remedyOf } from './http.ts'
import { COLUMNS, DATABASE, databaseUrl, readColumns, withServer } from './server.ts'
import { readTarget, TARGET } from './targets.ts'
import type { Line } from './terminal.ts'
import type { Look, Watched } from './watch.ts'
import { DatabaseWatch } from './watch-database.ts'
import { StatusWatch } from './watch-status.ts'

export const monitor: Command = {
  name: 'monitor',
  summary: 'Show the state of a node, or what the database shows of all of them',
  usage: '--url <status route> | [<table>] [options]',
  options: {
    url: { type: 'string', value: 'url', text: 'The status route of a node' },
    ...HEADER,
    ...DATABASE,
    table: { type: 'string', value: 'table', text: 'In the database: the log table, in place of its name alone' },
    ...TARGET,
    ...COLUMNS,
    once: { type: 'boolean', text: 'One look; exit code 1 where something is wrong' },
    interval: { type: 'string', value: 'seconds', text: 'Between two looks; default: 5' },
    json: { type: 'boolean', text: 'A line of JSON for each look' }
  },
  notes: ['Where the server goes away it says so, and goes on trying. Ctrl-C ends it.'],
  takesNames: 'one',

  async run (call) {
    const { args, signal } = call
    const endpoint = readEndpoint(args, 'status')
    const interval = args.seconds('interval', 5)
    if (endpoint !== null) {
      args.refuse(['database', 'table', 'column', ...Object.keys(TARGET)], 'does not go with --url, which shows what its node knows')
      return watch(call, new StatusWatch(endpoint, signal), interval)
    }
    const table = args.text('table')
    if (table === undefined) args.refuse(['column', ...Object.keys(TARGET)], 'goes with --table')
    const target = table === undefined ? null : readTarget(args, table)
    const columns = readColumns(args)
    return withServer(databaseUrl(call), call, 'monitor', (reader) => watch(call, new DatabaseWatch(reader, target, columns), interval))
  }
}

async function watch ({ args, terminal, signal }: Call, watched: Watched, interval: number): Promise<number> {
  const inJson = args.flag('json')
  for (;;) {
    const time = new Date().toISOString()
    let look: Look
    try {
      look = await watched.look()
      if (signal.aborted) return 0
      if (inJson) terminal.json({ time, reachable: true, fine: look.fine, ...look.report })
    } catch (error) {
      if (signal.aborted) return 0
      const why = errorText(error)
      const refused = error instanceof Refused
      look = { report: {}, lines: [[['red', refused ? 'REFUSED' : 'AWAY'], `  ${why}`], ...refused ? [[remedyOf(error, 'status')] as Line] : [], ...args.flag('once') ? [] : [[`It is asked again every ${interval / 1000} s.`] as Line]], fine: false }
      if (inJson) terminal.json({ time, reachable: false, fine: false, error: why })
    }
    const lines: Line[] = [[['bold', 'fastify-pg-tail'], ` ${watched.name} at ${time}`], ...look.lines]
    if (args.flag('once')) {
      if (!inJson) for (const line of lines) terminal.line(...line)
      return look.fine ? 0 : 1
    }
    if (!inJson) terminal.redraw(lines)
    // Aborted: it ends.
    await delay(interval, undefined, { signal }).catch(() => {})
    if (signal.aborted) return 0
  }
}
