// A long log to one client that comes late.

import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate } from '../support/rounds.ts'

const ROWS = 1_000_000
const OURS = 'ours, after=0'
const CURSOR = "the driver's cursor"
const PSQL = 'psql, COPY'

export const about = `Rows a second of ${ROWS.toLocaleString('en')} rows in the table, to one client that has none. The cursor fetches 1,000 rows at a time and writes the same events to a raw socket.`

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  const { url, sql } = await cluster.database('replay')
  await sql`insert into scraper_log (run_id, message) select n % 50, 'a line of some length, as scrapers write them, ' || n from generate_series(1, ${ROWS}::int) n`
  await sql.unsafe('vacuum analyze scraper_log')
  await using receivers = await Child.start('support/receivers.ts')
  await using node = await Child.start('sides/ours.ts', url)
  await using other = await Child.start('sides/cursor.ts', url)
  const ports: Record<string, number> = { [OURS]: await node.ask('port'), [CURSOR]: await other.ask('port') }
  const { speed } = await alternate([OURS, CURSOR, PSQL], rounds, async (side) => {
    const start = performance.now()
    if (side === PSQL) await other.ask('psql')
    else {
      await receivers.ask('connect', ports[side], ['/logs/stream?after=0'])
      await arrived(receivers, [ROWS])
    }
    const took = performance.now() - start
    await receivers.ask('close')
    return { speed: ROWS / took * 1000 }
  })
  return [
    compare('1,000,000 rows', 'rows/s', speed, OURS, CURSOR, { atLeast: 0.6 }),
    compare('1,000,000 rows', 'rows/s', speed, OURS, PSQL)
  ]
}
