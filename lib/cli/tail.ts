import { MAX_TAIL } from '../queue/log-queue.ts'
import type { FastifyPgTailOptions } from '../options.ts'
import type { Arguments, OptionSet } from './arguments.ts'
import type { Command } from './command.ts'
import { UsageError } from './failure.ts'
import type { Follow } from './follow.ts'
import { HEADER, readEndpoint } from './http.ts'
import { Printer } from './printer.ts'
import { COLUMNS, DATABASE, databaseUrl, readColumns } from './server.ts'
import { tailDatabase } from './tail-database.ts'
import { StreamTail } from './tail-stream.ts'

const OF_DATABASE: OptionSet = {
  ...DATABASE,
  'listen-database': { type: 'string', value: 'url', text: 'For LISTEN, where the other one goes through a pooler' },
  table: { type: 'string', value: 'table', text: 'The log table, in place of its name alone' },
  channel: { type: 'string', value: 'name', text: 'The channel that its trigger notifies; default: log_updates' },
  runs: { type: 'string', value: 'table', text: 'The table of runs, by which -f ends with its run' },
  finished: { type: 'string', multiple: true, value: 'status', text: 'With --runs: the status of a run that has ended' },
  ...COLUMNS
}

export const tail: Command = {
  name: 'tail',
  summary: 'Show the log: its last rows, and with -f what follows',
  usage: '<table> | --url <stream route> [options]',
  options: {
    follow: { type: 'boolean', short: 'f', text: 'Go on with the rows that follow, until the run ends or Ctrl-C' },
    lines: { type: 'string', short: 'n', value: 'count', text: 'The last so many rows; default: 10' },
    since: { type: 'string', value: 'time', text: 'In place of -n: rows since 30s, 10m, 2h, 7d ago, or since a timestamp' },
    run: { type: 'string', value: 'id', text: 'Only rows of this run' },
    level: { type: 'string', multiple: true, value: 'level', text: 'Only rows of this level, or of several with commas between' },
    json: { type: 'boolean', text: 'A line of JSON for each row' },
    ...OF_DATABASE,
    url: { type: 'string', value: 'url', text: 'The stream route of an app, in place of a database' },
    ...HEADER
  },
  notes: [
    'Where the server goes away it comes back by itself, and goes on where it was. What is not a row goes to stderr.',
    `By --url, --since looks at the last ${MAX_TAIL} rows. Straight from the table it reads the whole table unless the time has an index.`
  ],
  takesNames: 'one',

  async run (call) {
    const { args, terminal } = call
    const follow = readFollow(args)
    const endpoint = readEndpoint(args, 'stream')
    const printer = new Printer(terminal, args.flag('json'), follow.since)
    if (endpoint !== null) {
      args.refuse(Object.keys(OF_DATABASE), 'does not go with --url: the app knows it')
      return new StreamTail(endpoint, follow, printer, call).run()
    }
    return tailDatabase(readSource(args, databaseUrl(call), call.env), follow, printer, call)
  }
}

/** @throws UsageError */
function readFollow (args: Arguments): Follow {
  const since = args.text('since')
  if (since !== undefined) args.refuse(['lines'], 'does not go with --since')
  const levels = args.list('level').flatMap((each) => each.split(','))
  if (levels.includes('')) throw new UsageError('--level names no level: give one, or several with commas between')
  return {
    run: args.text('run') ?? null,
    levels,
    since: since === undefined ? null : readTime(since),
    count: since === undefined ? args.integer('lines', MAX_TAIL) ?? 10 : MAX_TAIL,
    forever: args.flag('follow')
  }
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }

/** @throws UsageError */
export function readTime (text: string, now = Date.now()): Date {
  const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? []
  // JavaScript takes a bare number, too: for a month.
  const time = unit !== undefined ? new Date(now - Number(count) * UNITS[unit]! * 1000) : new Date(/^\d{4}-\d\d/.test(text) ? text : NaN)
  if (Number.isNaN(time.getTime())) throw new UsageError(`--since is ${text}: give a time such as 10m, 2h or 2026-01-21T10:00:00Z`)
  return time
}

/** @throws UsageError */
function readSource (args: Arguments, connectionString: string, env: NodeJS.ProcessEnv): FastifyPgTailOptions & { connectionString: string } {
  const table = args.text('table')
  if (table === undefined) throw new UsageError('nothing to show: give --table <the log table>, or --url <stream route>')
  const runs = args.text('runs')
  const finished = args.list('finished')
  if ((runs === undefined) !== (finished.length === 0)) throw new UsageError('--runs and --finished go together: give the table of runs, and the statuses of one that has ended')
  const channel = args.text('channel')
  return {
    connectionString,
    table,
    columns: readColumns(args),
    ...args.given('listen-database') && { listenConnectionString: databaseUrl({ args, env }, 'listen-database') },
    ...channel !== undefined && { channel },
    ...runs !== undefined && { runs: { table: runs, finished } }
  }
}
