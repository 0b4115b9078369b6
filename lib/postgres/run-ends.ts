import type { Sql } from 'postgres'
import { errors, isNoName, isNoValue, isUnwritable } from '../errors.ts'
import type { RunEnd } from '../queue/feed.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { exactText, MARK, query, quote } from './query.ts'
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

/** Milliseconds for which it counts whether runs can be stopped. */
const ASK_EVERY = 10_000
/** Milliseconds after which it is found out afresh which texts are no values of the id's type: that may get more values. */
const FORGET_ODD_EVERY = 60_000
/** So many of those texts are known; those that were found last. */
const MAX_ODD = 10_000
/** So many runs that were stopped on this node alone are known; those that were stopped last. */
const MAX_STOPPED_HERE = 10_000

/** The question in the table of runs, by the type of its id, which an index serves. */
interface Status { text: string, type: string, finished: string[] }

/** Whether this role may stop runs; `role` is quoted where SQL needs it. */
interface Access { write: boolean, role: string }

/** Finds the runs that have ended: by their status in the table of runs, or because they were stopped. */
export class RunEnds {
  /** Oid of the table of runs. */
  readonly runs: number | null
  readonly #target: Table
  readonly #status: Status | null

  readonly #stoppedHere: Map<string, string | null>
  /** No values of the id's type, so no run has them: that somebody asks for such a one must cost the others neither their answer nor the index. */
  readonly #odd = new Set<string>()
  #forgetOdd = 0
  /** Null where it may not read which are stopped, or there is no such list. */
  #access: Access | null = null
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
    const text = `select r.${quote(options.id)}::text as run, r.${quote(options.status)}::text as status, null as message
      from ${found.name} r where r.${quote(options.id)} = any($1::text[]::${found.type}[]) and ${exactText(`r.${quote(options.status)}`)} = any($2::text[])`
    return new RunEnds(table, stoppedHere, Number(found.oid), { text, type: found.type, finished: options.finished })
  }

  /** Which of the runs have ended. @throws FST_PG_TAIL_SERVER on a standby, which may know of an end before the primary shows the last rows */
  async find (sql: Sql, runs: readonly string[]): Promise<RunEnd[]> {
    const access = await this.#askAccess(sql)
    if (performance.now() >= this.#forgetOdd) {
      this.#odd.clear()
      this.#forgetOdd = performance.now() + FORGET_ODD_EVERY
    }
    const rows = await this.#ask(sql, access, runs, runs.filter((run) => !this.#odd.has(run)))
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
   * @throws FST_PG_TAIL_STOP where this role may read which runs are stopped, but not stop any
   */
  async stop (sql: Sql, run: string, message: string | null, channel: string): Promise<boolean> {
    this.#askAgain = 0
    const access = await this.#askAccess(sql)
    if (access === null) {
      stopHere(this.#stoppedHere, run, message)
      return false
    }
    if (!access.write) {
      throw new errors.Stop(run, `role ${access.role} may not write to fastify_pg_tail.stopped_run`, `grant insert on fastify_pg_tail.stopped_run to ${access.role};`)
    }
    // By its name: another one may be in its place since somebody watched last.
    const { name, oid } = this.#target
    await query(sql, 'select fastify_pg_tail.stop(coalesce(to_regclass($1::text), $2::oid::regclass), $3::text, $4::text, $5::text)', [name, oid, run, message, channel])
    return true
  }

  /** @param values those of the runs that may be values of the id's type; what is none, is left out at the second try */
  async #ask (sql: Sql, access: Access | null, runs: readonly string[], values: readonly string[]): Promise<Array<Record<string, any>>> {
    const parameters: unknown[] = []
    const parts: string[] = []
    if (this.#status !== null) {
      parts.push(this.#status.text)
      parameters.push(values, this.#status.finished)
    }
    if (access !== null) {
      parts.push(`select run, 'stopped' as status, message from fastify_pg_tail.stopped_run
        where target = ${this.#target.oid}::oid and run = any($${parameters.push(runs)}::text[])`)
    }
    if (parts.length === 0) return []
    try {
      const rows = await query(sql, `select ${ON_STANDBY}, ends.* from (select) server left join (${parts.join(' union all ')}) ends on true`, parameters)
      onPrimary(rows)
      return rows
    } catch (error) {
      const unwritable = isUnwritable(error)
      if (!unwritable && (this.#status === null || !isNoValue(error))) throw error
      const odd = unwritable ? await findOdd(sql, runs, 'text') : await findOdd(sql, values, this.#status!.type)
      if (odd.size === 0) throw error
      for (const run of odd) {
        this.#odd.add(run)
        if (this.#odd.size > MAX_ODD) this.#odd.delete(this.#odd.keys().next().value!)
      }
      // Not by what is known of others' questions: each try has fewer values than the one before.
      return this.#ask(sql, access, unwritable ? runs.filter((run) => !odd.has(run)) : runs, values.filter((run) => !odd.has(run)))
    }
  }

  /** Asked now and then: somebody may install it, or remove it, while we run. */
  async #askAccess (sql: Sql): Promise<Access | null> {
    if (performance.now() < this.#askAgain) return this.#access
    const [row] = await sql`select has_table_privilege(c.oid, 'insert') as write, quote_ident(current_user) as role
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'fastify_pg_tail' and c.relname = 'stopped_run' and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')`
    this.#access = (row as Access | undefined) ?? null
    this.#askAgain = performance.now() + ASK_EVERY
    return this.#access
  }
}

/** Where other nodes cannot be told. The first stop counts. */
export function stopHere (stopped: Map<string, string | null>, run: string, message: string | null): void {
  if (stopped.has(run)) return
  stopped.set(run, message)
  if (stopped.size > MAX_STOPPED_HERE) stopped.delete(stopped.keys().next().value!)
}

/**
 * Which of the texts are no values of a type, in one statement, however many there are: PL/pgSQL can go on after an error.
 * (`pg_input_is_valid()` is there from PostgreSQL 16 on, and fails itself where the check of a domain does.) It takes no
 * parameters, so the texts are in it, in hexadecimal digits.
 */
async function findOdd (sql: Sql, texts: readonly string[], type: string): Promise<Set<string>> {
  const [, [found]] = await sql.unsafe(`${MARK} do $find_odd$
    declare
      hex text[] := '{${texts.map((text) => `"${Buffer.from(text).toString('hex')}"`).join()}}';
      odd int[] := '{}';
    begin
      for i in 1 .. cardinality(hex) loop
        begin
          perform array[convert_from(decode(hex[i], 'hex'), 'UTF8')]::text[]::${type}[];
        exception when data_exception or check_violation then
          odd := odd || i;
        end;
      end loop;
      perform set_config('fastify_pg_tail.odd', array_to_json(odd)::text, true);
    end $find_odd$; select current_setting('fastify_pg_tail.odd') as odd`) as unknown as [unknown, [{ odd: string }]]
  return new Set((JSON.parse(found.odd) as number[]).map((i) => texts[i - 1]!))
}
