import type { Sql } from 'postgres'
import { errors, isNoName, isNoValue } from '../errors.ts'
import type { RunEnd } from '../queue/feed.ts'
import { exactText, query, quote } from './query.ts'
import type { Table } from './table.ts'

export interface RunsOptions {
  /** As in SQL: `schema.name`. */
  table: string
  /** Column of the run's id. Default: `id`. */
  id: string
  /** Column of its status. Default: `status`. */
  status: string
  /** The statuses of a run that has ended. */
  finished: string[]
}

/** Milliseconds between two looks whether runs can be stopped. */
const ASK_EVERY = 10_000

/** The question in the table of runs: by the type of its id, which an index serves, and by text. */
interface Status { text: string, typed: string, untyped: string, finished: string[] }

/** Finds the runs that have ended: by their status in the table of runs, or because they were stopped. */
export class RunEnds {
  /** Oid of the table of runs. */
  readonly runs: number | null
  readonly #target: Table
  readonly #status: Status | null

  readonly #stoppedHere: Map<string, string | null>
  #stoppable = false
  #askAgain = 0

  private constructor (target: Table, stoppedHere: Map<string, string | null>, runs: number | null, status: Status | null) {
    this.#target = target
    this.#stoppedHere = stoppedHere
    this.runs = runs
    this.#status = status
  }

  /**
   * @param stoppedHere runs that were stopped on this node, where others cannot be told, with the messages
   * @throws FST_PG_TAIL_TABLE where the table of runs is not as the options say
   */
  static async inspect (sql: Sql, table: Table, options: RunsOptions | null, stoppedHere: Map<string, string | null>): Promise<RunEnds> {
    if (options === null) return new RunEnds(table, stoppedHere, null, null)
    const [found] = await sql`
      select c.oid::int8::text as oid, format('%I.%I', n.nspname, c.relname) as name,
        array(select attname::text from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped) as columns,
        (select format_type(atttypid, atttypmod) from pg_attribute where attrelid = c.oid and attname = ${options.id}) as type
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(${options.table})`.catch((error) => {
      if (isNoName(error)) return []
      throw error
    })
    if (!found) throw new errors.Table(options.table, 'it does not exist', 'Set the option runs.table to the table of runs')
    for (const purpose of ['id', 'status'] as const) {
      if (!found.columns.includes(options[purpose])) {
        throw new errors.Table(found.name, `it has no column "${options[purpose]}"`, `Set the option runs.${purpose}; its columns are ${found.columns.join(', ')}`)
      }
    }
    const typed = `r.${quote(options.id)} = any($1::text[]::${found.type}[])`
    const untyped = `r.${quote(options.id)}::text = any($1::text[])`
    const text = `select r.${quote(options.id)}::text as run, r.${quote(options.status)}::text as status, null as message
      from ${found.name} r where ${typed} and ${exactText(`r.${quote(options.status)}`)} = any($2::text[])`
    return new RunEnds(table, stoppedHere, Number(found.oid), { text, typed, untyped, finished: options.finished })
  }

  /** Which of the runs have ended. */
  async find (sql: Sql, runs: readonly string[]): Promise<RunEnd[]> {
    const parameters: unknown[] = [runs]
    const parts: string[] = []
    if (this.#status !== null) {
      parts.push(this.#status.text)
      parameters.push(this.#status.finished)
    }
    if (await this.#canStop(sql)) {
      parts.push(`select run, 'stopped' as status, message from fastify_pg_tail.stopped_run
        where target = ${this.#target.oid}::oid and run = any($1::text[])`)
    }
    const rows = parts.length === 0 ? [] : await this.#ask(sql, parts.join(' union all '), parameters)
    for (const run of runs) {
      if (this.#stoppedHere.has(run)) rows.push({ run, status: 'stopped', message: this.#stoppedHere.get(run) })
    }
    // The status in the table of runs comes first, and says more. By value 07 finds 7, which nobody asked for.
    return rows.filter(({ run }, i) => runs.includes(run) && rows.findIndex((row) => row.run === run) === i)
      .map(({ run, status, message }) => ({ run, status, message }))
  }

  /**
   * Ends a run for every node.
   * @returns false where the SQL of this package is not there for this role: only this node knows
   */
  async stop (sql: Sql, run: string, message: string | null, channel: string): Promise<boolean> {
    this.#askAgain = 0
    if (!await this.#canStop(sql)) {
      if (!this.#stoppedHere.has(run)) this.#stoppedHere.set(run, message)
      return false
    }
    // By its name: another one may be in its place since somebody watched last.
    const { name, oid } = this.#target
    await query(sql, 'select fastify_pg_tail.stop(coalesce(to_regclass($1::text), $2::oid::regclass), $3::text, $4::text, $5::text)', [name, oid, run, message, channel])
    return true
  }

  async #ask (sql: Sql, text: string, parameters: readonly unknown[]): Promise<Array<Record<string, any>>> {
    try {
      return await query(sql, text, parameters)
    } catch (error) {
      // One of the runs is no value of the id's type. The others shall not suffer for it.
      if (this.#status === null || !isNoValue(error)) throw error
      return query(sql, text.replace(this.#status.typed, () => this.#status!.untyped), parameters)
    }
  }

  /** Asked now and then: somebody may install it, or remove it, while we run. */
  async #canStop (sql: Sql): Promise<boolean> {
    if (performance.now() < this.#askAgain) return this.#stoppable
    const [row] = await sql`select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as can
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'fastify_pg_tail' and c.relname = 'stopped_run'`
    this.#stoppable = row?.can ?? false
    this.#askAgain = performance.now() + ASK_EVERY
    return this.#stoppable
  }
}
