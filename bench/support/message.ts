// What the other sides make of a row: the same event as ours, as one would write it by hand.

import type { Row } from 'postgres'

export const GREETING = 'data: {"type":"connected"}\n\n'
/** Of the columns that an event needs. */
export const COLUMNS = 'id::text, run_id, level, message, created_at'

export function message ({ id, run_id: run, level, message, created_at: timestamp }: Row): Record<string, unknown> {
  return { type: 'log', id: Number(id), run_id: Number(run), level, timestamp, message }
}

export function event (row: Row): string {
  return `id: ${row['id']}\ndata: ${JSON.stringify(message(row))}\n\n`
}
