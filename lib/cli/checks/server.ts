import { lookAtRole, lookAtServer, oldestTransactions, QUEUE_FULL, type RoleLook, type ServerLook } from '../../postgres/look.ts'
import { quote } from '../../postgres/query.ts'
import type { Reader } from '../../postgres/reader.ts'
import { errorText } from '../failure.ts'
import { ok, plural, problem, warning, type Finding, type Findings } from './finding.ts'
import { endOf, mayMonitor } from './transactions.ts'

/** Sessions of one node with one table at most: a listener, its proof, a reader, two that look for ends of runs, and four for replays. */
const SESSIONS = 9
/** How many more a server is told to take. */
const MARGIN = 50
const OLDEST = 140000

export type Server = ServerLook & RoleLook

/** @returns what was found where it cannot be reached */
export async function reach (reader: Reader): Promise<Server | Finding> {
  try {
    return await reader.answer(async (sql) => ({ ...await lookAtServer(sql), ...await lookAtRole(sql) }))
  } catch (error) {
    return problem('server', `the server cannot be asked: ${errorText(error)}`, 'Rows come from there.', fixReach(error as { code?: string }))
  }
}

export async function * checkServer (reader: Reader, server: Server): Findings {
  const { version, version_num: number, standby, role, free, bound, queue_usage_percent: usage, sees_all: seesAll } = server
  yield ok('server', `it answers: role ${role}`)
  yield number >= OLDEST
    ? ok('version', `PostgreSQL ${version}`)
    : problem('version', `PostgreSQL ${version} is older than 14`, 'The plugin refuses to start on it.', 'Upgrade the server.')
  yield standby
    ? problem('primary', 'the server is a hot standby', 'It cannot LISTEN, and the locks of writers are not on it.', 'Point connectionString at the primary.')
    : ok('primary', 'the server is a primary')
  yield free >= SESSIONS
    ? ok('sessions', `${free} more can be opened; a node takes ${SESSIONS}`)
    : (free > 0 ? warning : problem)('sessions', `only ${plural(Math.max(free, 0), 'more session')} can be opened (${bound}); a node takes ${SESSIONS}`,
        'Without a session nothing can be read.', ...moreSessions(server))
  if (usage < QUEUE_FULL / 2) yield ok('queue', `the notification queue is ${usage} % full`)
  else {
    const oldest = await reader.answer(oldestTransactions)
    yield (usage < QUEUE_FULL ? warning : problem)('queue', `the notification queue is ${usage} % full`,
      `Some session that LISTENs has a transaction open. From ${QUEUE_FULL} % on the trigger does not ring, and a full queue fails every commit that notifies.`,
      ...oldest.map(({ pid, age }) => `${endOf(pid)} -- a transaction open for ${age} s`),
      ...seesAll ? [] : [`${mayMonitor(role)} -- and ask again: those of other roles are not visible to it`])
  }
}

function moreSessions ({ bound, role, max_connections: max }: Server): string[] {
  if (bound === 'max_connections') {
    return [`alter system set max_connections = ${max + MARGIN}; -- and restart the server; a managed one has it in its provider's settings`, 'Or put a pooler before it.']
  }
  if (bound === 'CONNECTION LIMIT of role') return [`alter role ${role} connection limit -1;`]
  return [`alter ${bound.slice('CONNECTION LIMIT of '.length)} connection limit -1;`]
}

function fixReach ({ code = '', message = '' }: { code?: string, message?: string }): string {
  if (code === 'ECONNREFUSED') return 'Nobody listens there: start the server, or correct host and port in the URL.'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'Correct the host in the URL.'
  if (code === 'FST_PG_TAIL_TIMEOUT' || code === 'ETIMEDOUT') return 'Look for a firewall between here and there, and whether the host is up.'
  if (code === '3D000') return 'Create the database, or correct its name in the URL.'
  // Its own bound, rather than the server's; where the server speaks another language, nobody can tell.
  const [, whose, name] = /^too many connections for (role|database) "(.*)"$/.exec(message) ?? []
  if (whose !== undefined) return `alter ${whose} ${quote(name!)} connection limit -1;`
  if (code === '53300') return `Close sessions, or raise max_connections: a node takes ${SESSIONS}.`
  if (code.startsWith('28')) return 'Correct role and password in the URL, or the line for them in pg_hba.conf.'
  return 'Correct the URL, or fix the server: what it says is above.'
}
