import type { Sql } from 'postgres'
import { isNoName, isRefusal } from '../errors.ts'
import { verify, type Installation, type InstallTarget } from '../postgres/install.ts'
import { blockers, readSequence, writersInFlight, type Blocker } from '../postgres/locks.ts'
import { lookAtServer, pluginSessions, QUEUE_FULL, sleepers, type PluginSession, type ServerLook, type Sleeper } from '../postgres/look.ts'
import type { Reader } from '../postgres/reader.ts'
import { inspectTable, type Columns } from '../postgres/table.ts'
import { errorText } from './failure.ts'
import { Series } from './history.ts'
import { holderText } from './holder.ts'
import type { Line } from './terminal.ts'
import { chart, label, type Look, type Watched } from './watch.ts'

interface TableLook {
  name: string
  last_id: string | null
  writers_in_flight: number
  gap_holders: Blocker[]
  installation: Installation
}

interface DatabaseReport {
  server: ServerLook
  table: TableLook | null
  /** Why the table cannot be looked at. */
  refused: string | null
  sleepers: Sleeper[]
  sessions: PluginSession[]
}

/** What the database alone shows of all nodes. */
export class DatabaseWatch implements Watched {
  readonly name = 'the database'
  readonly #reader: Reader
  readonly #target: InstallTarget | null
  readonly #columns: Columns
  readonly #ids = new Series()

  constructor (reader: Reader, target: InstallTarget | null, columns: Columns) {
    this.#reader = reader
    this.#target = target
    this.#columns = columns
  }

  async look (): Promise<Look> {
    const report = await this.#reader.answer((sql) => this.#ask(sql))
    const { server, table, refused } = report
    const last = table?.last_id ?? null
    const rate = this.#ids.add(performance.now(), last === null ? null : Number(last))
    return {
      report: { ...report, ids_per_second: rate },
      lines: describe(report, chart('Ids/s', rate, this.#ids.spark())),
      fine: !server.standby && server.queue_usage_percent < QUEUE_FULL && refused === null && (table === null || table.installation.missing.length === 0)
    }
  }

  async #ask (sql: Sql): Promise<DatabaseReport> {
    const server = await lookAtServer(sql)
    let table: TableLook | null = null
    let refused: string | null = null
    try {
      table = this.#target === null ? null : await this.#askOfTable(sql, this.#target)
    } catch (error) {
      // The name of a table of runs may be wrong, too.
      if (!isRefusal(error) && !isNoName(error)) throw error
      refused = errorText(error)
    }
    return { server, table, refused, sleepers: await sleepers(sql), sessions: await pluginSessions(sql) }
  }

  async #askOfTable (sql: Sql, target: InstallTarget): Promise<TableLook> {
    const table = await inspectTable(sql, target.table, this.#columns)
    const { lastValue } = await readSequence(sql, table)
    return {
      name: table.name,
      last_id: lastValue === null ? null : String(lastValue),
      writers_in_flight: (await writersInFlight(sql, table)).length,
      gap_holders: await blockers(sql, table),
      installation: await verify(sql, { ...target, table: table.name })
    }
  }
}

function describe ({ server, table, refused, sleepers, sessions }: DatabaseReport, ids: Line): Line[] {
  return [
    [label('Server'), `PostgreSQL ${server.version}, `, server.standby ? ['red', 'a standby'] : 'a primary'],
    [label('PG queue'), server.queue_usage_percent < QUEUE_FULL ? `${server.queue_usage_percent} % used` : ['red', `${server.queue_usage_percent} % used: triggers are silent`]],
    ...refused === null ? [] : [[label('Table'), ['red', refused]] as Line],
    ...table === null ? [] : describeTable(table, ids),
    [label('Sleepers'), `${sleepers.length}${sleepers.length === 0 ? ': no reader sleeps, so no writer rings' : ''}`],
    ...sleepers.map(({ pid, table }): Line => [label(''), `pid ${pid} on ${table}`]),
    [label('Sessions'), `${sessions.length} of the plugin`],
    ...sessions.map(({ pid, name, state, age_seconds: age }): Line => [label(''), `pid ${pid} ${name}, ${state ?? 'state not visible'}${age === null ? '' : `, connected for ${age} s`}`])
  ]
}

function describeTable ({ name, last_id: last, writers_in_flight: writers, gap_holders: holders, installation }: TableLook, ids: Line): Line[] {
  const { bell, missing, version } = installation
  return [
    [label('Table'), `${name}, last id ${last ?? 'not known'}`],
    ids,
    [label('Trigger'), missing.length === 0 ? ['green', bell] : ['yellow', bell], `, schema version ${version ?? 'none'}`],
    ...missing.map((what): Line => [label(''), ['yellow', what]]),
    [label('Writers'), `${writers} in flight`],
    [label('Gap holders'), String(holders.length)],
    ...holders.map((holder): Line => [label(''), ['yellow', holderText(holder)]])
  ]
}
