// The contract over PostgreSQL: with the trigger, and polled.

import t from 'tap'
import type { Sql } from 'postgres'
import { contract, type Row } from './contract/contract.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'

const server = await startPostgres(t)
let databases = 0

for (const install of [true, false]) {
  contract(install ? 'LISTEN' : 'polled', async (t) => {
    const url = await createDatabase(t, server, `contract_${++databases}`)
    const sql = connect(t, url)
    await createDemoTables(sql)
    const insert = (sql: Sql, rows: Row[]) => sql`insert into scraper_log ${(sql as any)(rows.map(({ run, level = 'INFO', message }) => ({ run_id: run, level, message })))}`
    return {
      options: { connectionString: url, install },
      state: install ? 'listening' : 'polling',
      write: (rows) => insert(sql, rows),
      takeBack: (rows) => sql.begin(async (sql) => {
        await insert(sql as unknown as Sql, rows)
        throw new Error('back')
      }).catch(() => {}),
      finish: (run) => sql`insert into scraper_run (id, name, status) values (${run}, 'a run', 'finished')`,
      restart: () => sql`truncate scraper_log restart identity`
    }
  })
}
