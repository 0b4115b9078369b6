import type { Sql } from 'postgres'
import type { InstallTarget } from '../postgres/install.ts'
import type { Reader } from '../postgres/reader.ts'
import { examineTable, findAbsence, type Columns } from '../postgres/table.ts'
import type { Call, Command } from './command.ts'
import { checkListen } from './checks/listen.ts'
import { plural, problem, warning, type Finding, type Findings, type Level } from './checks/finding.ts'
import { checkRows } from './checks/rows.ts'
import { checkServer, reach, type Server } from './checks/server.ts'
import { checkStream } from './checks/stream.ts'
import { checkTable } from './checks/table.ts'
import { checkTransactions } from './checks/transactions.ts'
import { checkTrigger } from './checks/trigger.ts'
import { checkWriters } from './checks/writers.ts'
import { errorText } from './failure.ts'
import { HEADER, readEndpoint } from './http.ts'
import { COLUMNS, DATABASE, databaseUrl, openServer, readColumns } from './server.ts'
import { readTarget, TARGET } from './targets.ts'
import type { Style, Terminal } from './terminal.ts'

export const doctor: Command = {
  name: 'doctor',
  summary: 'Look for every cause of "I see no rows", and say what fixes it',
  usage: '[<table>] [--url <stream route>] [options]',
  options: {
    ...DATABASE,
    'listen-database': { type: 'string', value: 'url', text: 'For LISTEN, where the other one goes through a pooler' },
    table: { type: 'string', value: 'table', text: 'The log table, in place of its name alone' },
    ...TARGET,
    ...COLUMNS,
    url: { type: 'string', value: 'url', text: 'The stream route of an app, as a browser reaches it: whether something on the way buffers' },
    ...HEADER,
    heartbeat: { type: 'string', value: 'seconds', text: "With --url: the plugin's option heartbeat, in seconds; default: 15" },
    strict: { type: 'boolean', text: 'Exit code 1 where there are warnings, too' },
    json: { type: 'boolean', text: 'One JSON text' }
  },
  notes: [
    'It changes nothing. Give the role that the app has: privileges are those of whoever asks.',
    'Exit code 1: there is a problem. Warnings alone: exit 0, unless --strict is given.'
  ],
  takesNames: 'one',

  async run (call) {
    const { args, terminal } = call
    const findings: Finding[] = []
    for await (const finding of examine(call)) {
      // What Ctrl-C has ended has found nothing out.
      call.signal.throwIfAborted()
      findings.push(finding)
      if (!args.flag('json')) show(terminal, finding)
    }
    const count = (level: Level) => findings.filter((finding) => finding.level === level).length
    const fine = count('problem') === 0 && (count('warning') === 0 || !args.flag('strict'))
    if (args.flag('json')) terminal.json({ fine, findings })
    else terminal.line(['bold', `${plural(count('problem'), 'problem')}, ${plural(count('warning'), 'warning')}, ${count('ok')} ok`])
    return fine ? 0 : 1
  }
}

async function * examine (call: Call): Findings {
  const { args, env, signal } = call
  const endpoint = readEndpoint(args, 'stream')
  const heartbeat = args.seconds('heartbeat', 15)
  const table = args.text('table')
  if (table === undefined) args.refuse(['column', ...Object.keys(TARGET)], 'goes with --table')
  const columns = readColumns(args)
  const subject = table === undefined ? null : { target: readTarget(args, table), columns, typed: args.list('column') }
  // Without a database the stream can still be looked at.
  if (endpoint === null || table !== undefined || args.given('database') || args.given('listen-database') || env.DATABASE_URL) {
    const url = databaseUrl(call)
    const reader = openServer(url, call, 'doctor')
    const listenUrl = args.given('listen-database') ? databaseUrl(call, 'listen-database') : null
    try {
      yield * checkDatabase(reader, listenUrl ?? url, listenUrl !== null, subject)
    } finally {
      await reader.close()
    }
  }
  if (endpoint !== null && !signal.aborted) yield * checkStream(endpoint, heartbeat, signal)
  signal.throwIfAborted()
}

/** A table, and its columns: also as they were typed. */
interface Subject {
  target: InstallTarget
  columns: Columns
  typed: string[]
}

async function * checkDatabase (reader: Reader, listenUrl: string, isApart: boolean, subject: Subject | null): Findings {
  const server = await reach(reader)
  if ('level' in server) return yield server
  yield * goOn('server', checkServer(reader, server))
  if (!server.standby) yield * goOn('listen', checkListen(reader, listenUrl, isApart))
  if (subject === null) return yield warning('table', 'the table was not looked at: give --table', 'Most causes are there.', 'fastify-pg-tail doctor --table <the log table>')
  const { target, columns, typed } = subject
  const inspection = await reader.answer((sql) => examineTable(sql, target.table, columns)).catch((error) => lookFailed('table', error))
  if ('level' in inspection) return yield inspection
  yield * checkTable(inspection, columns)
  const { name, relation, checked } = inspection
  if (relation === null) return
  // The sequence was looked at: there is such a column.
  if (relation.readable && checked.includes('sequence')) yield * ask('rows', reader, (sql) => checkRows(sql, inspection, columns.id))
  yield * ask('writers', reader, (sql) => checkWriters(sql, name, relation.oid))
  yield * ask('trigger', reader, (sql) => checkBells(sql, { ...target, table: name }, typed, server))
  const { sequence } = relation
  if (sequence !== null && !server.standby) yield * ask('gaps', reader, (sql) => checkTransactions(sql, sequence, server))
}

/** Where the name of the table of runs is wrong, the trigger on the log table is looked at all the same. */
async function * checkBells (sql: Sql, target: InstallTarget, columns: readonly string[], server: Server): Findings {
  const { runs, ...alone } = target
  const absence = runs === undefined ? null : await findAbsence(sql, runs)
  if (absence !== null) {
    yield problem('runs', `the table of runs, ${runs}: ${absence.wrong}`, 'With such an option runs.table the plugin refuses to start.', absence.fix, 'Or correct --runs, and the option runs.table of the app.')
  }
  yield * checkTrigger(sql, absence === null ? target : alone, columns, server)
}

/** Over one session; what was asked in vain is asked again. */
async function * ask (check: string, reader: Reader, look: (sql: Sql) => Findings): Findings {
  let found: Finding[] = []
  let failure: Finding | null = null
  try {
    await reader.answer(async (sql) => {
      found = []
      for await (const finding of look(sql)) found.push(finding)
    })
  } catch (error) {
    failure = lookFailed(check, error)
  }
  yield * found
  if (failure !== null) yield failure
}

/** One look that fails is no reason to leave the others out. */
async function * goOn (check: string, findings: Findings): Findings {
  try {
    yield * findings
  } catch (error) {
    yield lookFailed(check, error)
  }
}

function lookFailed (check: string, error: unknown): Finding {
  return problem(check, `it could not be looked at: ${errorText(error)}`, 'What is wrong there is not known.', 'Fix what the sentence says, and ask again.')
}

const STYLES: Record<Level, Style> = { ok: 'green', warning: 'yellow', problem: 'red' }

function show (terminal: Terminal, { check, level, what, why, fix = [] }: Finding): void {
  terminal.line([STYLES[level], level.padEnd(8)], ['bold', check], `: ${what}`)
  if (why !== undefined) terminal.line(`        ${why}`)
  for (const each of fix) terminal.line('        ', ['cyan', each])
}
