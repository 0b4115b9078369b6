// A PostgreSQL server for a part of the benchmark, with a database for each side.

import postgres, { type Sql } from 'postgres'
import { startEmbeddedPostgres } from '../../examples/embedded-postgres.ts'
import { createDemoTables } from '../../test/support/postgres.ts'

/** What it has by default and the tests do without: a commit is on disk. */
export const DURABLE = { fsync: 'on', full_page_writes: 'on', shared_buffers: '512MB', max_wal_size: '4GB' }

export class Cluster implements AsyncDisposable {
  readonly url: string
  readonly #close: () => Promise<void>
  readonly #opened: Sql[] = []

  private constructor (url: string, close: () => Promise<void>) {
    this.url = url
    this.#close = close
  }

  static async start (settings: Record<string, string> = DURABLE): Promise<Cluster> {
    const server = await startEmbeddedPostgres({ settings })
    return new Cluster(server.url, () => server.close())
  }

  connect (url: string, options: postgres.Options<{}> = {}): Sql {
    const sql = postgres(url, { onnotice () {}, ...options })
    this.#opened.push(sql)
    return sql
  }

  /** A database with the tables of the example. */
  async database (name: string): Promise<{ url: string, sql: Sql }> {
    const admin = this.connect(this.url, { max: 1 })
    await admin.unsafe(`create database ${name}`)
    const url = Object.assign(new URL(this.url), { pathname: name }).href
    const sql = this.connect(url)
    await createDemoTables(sql)
    return { url, sql }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await Promise.all(this.#opened.map((sql) => sql.end({ timeout: 1 })))
    await this.#close()
  }
}
