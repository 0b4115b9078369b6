// Rows at a steady rate.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { clock } from './clock.ts'

/** Milliseconds between two statements. */
const EVERY = 5
export const LINE = 'a line of some length, as scrapers write them'
export const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR']

export interface Load {
  /** Rows a second. */
  rate: number
  rows: number
  /** How many runs they are of, in turn. Of each run, the levels come in turn. */
  runs: number
}

/** What is due goes in one statement. A message begins with the time of day, in milliseconds. */
export async function write (sql: Sql, { rate, rows, runs }: Load): Promise<void> {
  const start = performance.now()
  for (let written = 0; written < rows; await sleep(EVERY)) {
    const due = Math.min(rows, Math.floor((performance.now() - start) * rate / 1000))
    if (due === written) continue
    await sql`insert into scraper_log (run_id, level, message)
      select n % ${runs}::int, (${LEVELS}::text[])[n / ${runs}::int % 4 + 1], ${`t${clock()} ${LINE}`} from generate_series(${written}::int, ${due - 1}::int) n`
    written = due
  }
}
