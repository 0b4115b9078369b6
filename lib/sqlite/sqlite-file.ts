import { statSync } from 'node:fs'
import { errors } from '../errors.ts'

export type Row = Record<string, any>

/** What we need of `node:sqlite`, which Node 20 does not have, nor its types. */
interface Statement {
  all: (...parameters: unknown[]) => Row[]
  get: (...parameters: unknown[]) => Row | undefined
  iterate: (...parameters: unknown[]) => Iterable<Row>
  setReadBigInts: (on: boolean) => void
}
interface Database {
  prepare: (sql: string) => Statement
  exec: (sql: string) => void
  close: () => void
}
interface Sqlite {
  DatabaseSync: new (path: string, options: { readOnly: boolean }) => Database
}

const BUSY = 5

/** An SQLite file that is open for reading. Integers are bigints. */
export class SqliteFile {
  readonly #path: string
  readonly #identity: string
  readonly #database: Database
  readonly #statements = new Map<string, Statement>()

  /** @throws FST_PG_TAIL_OPTION where this Node has no `node:sqlite`, or that is no path; what SQLite or the file system says */
  constructor (path: string) {
    const sqlite = process.getBuiltinModule('node:sqlite') as Sqlite | undefined
    if (sqlite === undefined) {
      throw new errors.Option('source.sqlite', 'given', `this is Node ${process.versions.node}; SQLite is read with node:sqlite, which comes with Node 22.13 and later`)
    }
    if (/^file:|^:memory:$/i.test(path)) throw new errors.Option('source.sqlite', 'no path', 'give the path of a file')
    this.#path = path
    // Before it is opened: where it is replaced in between, that shows later.
    this.#identity = identify(path)
    this.#database = new sqlite.DatabaseSync(path, { readOnly: true })
  }

  /** Whether it is still the file of that name. */
  isCurrent (): boolean {
    try {
      return identify(this.#path) === this.#identity
    } catch {
      return false
    }
  }

  /** Changes with each commit of somebody else's. */
  dataVersion (): bigint {
    return this.get('pragma data_version')!['data_version']
  }

  /** Changes with each table that is made, altered or dropped. */
  schemaVersion (): bigint {
    return this.get('pragma schema_version')!['schema_version']
  }

  all (sql: string, ...parameters: unknown[]): Row[] {
    return this.#prepare(sql).all(...parameters)
  }

  get (sql: string, ...parameters: unknown[]): Row | undefined {
    return this.#prepare(sql).get(...parameters)
  }

  /** Whoever stops iterating reads no further. */
  iterate (sql: string, ...parameters: unknown[]): Iterable<Row> {
    return this.#prepare(sql).iterate(...parameters)
  }

  /** Several questions at one moment. */
  atOnce<T> (ask: () => T): T {
    this.#database.exec('begin')
    try {
      return ask()
    } finally {
      try {
        this.#database.exec('rollback')
      } catch {
        // After some errors SQLite has done so itself.
      }
    }
  }

  close (): void {
    this.#database.close()
  }

  #prepare (sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      statement.setReadBigInts(true)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

/** Whether somebody else has the file locked, as whoever commits does for a moment. */
export function isBusy (error: unknown): boolean {
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === BUSY
}

function identify (path: string): string {
  const { dev, ino } = statSync(path, { bigint: true })
  return `${dev}:${ino}`
}
