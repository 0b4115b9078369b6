import { exact, exactly, type LogRow, type SourceRow } from '../row.ts'
import type { Delivery, RunEnd } from './feed.ts'

/** Messages that are not rows. */
export type Notice =
  | { type: 'connected', mode: 'listen' | 'poll', message: string }
  | { type: 'mode', mode: 'listen' | 'poll', message: string }
  | { type: 'stopped', run_id: number | string | null, status: string, rows: number, message: string }
  | { type: 'reset', message: string }

/** One row, ready to be sent: serialised once, for all clients. */
export interface Frame {
  readonly row: LogRow
  readonly level: string | null
  /** The whole event as it goes over the wire. */
  readonly event: string
}

/**
 * @param integerRuns the column of runs holds integers, so JSON has numbers
 */
export function frame ({ row, cursor }: Delivery, integerRuns: boolean): Frame {
  const { level, message, cut, timestamp, extra } = row.content!
  const id = exact(row.id)
  const run = runInJson(row.run, integerRuns)
  const truncated = cut ? { truncated: true } as const : null
  // Spreading takes as long as the rest of an object, and mostly there is nothing to spread.
  const log = { type: 'log', id, run_id: run, level, timestamp, message }
  const logged = { id, run, level, message, timestamp, cursor }
  // One JSON text is one line: JSON escapes every line break, so no row can end its own event.
  const json = stringify(cut ? { ...log, ...truncated } : log, extra)
  return {
    row: cut || extra !== null ? { ...logged, ...truncated, ...extra } : logged,
    level,
    event: `id: ${cursor}\ndata: ${json}\n\n`
  }
}

/** What a parser of the host's makes of an extra column need not be JSON: better the row without it than no row. */
function stringify (row: object, extra: object | null): string {
  if (extra === null) return JSON.stringify(row)
  try {
    return JSON.stringify({ ...row, ...extra }, exactly)
  } catch {
    return JSON.stringify({ ...row, truncated: true })
  }
}

/** Whoever is told to forget what it has comes back from the start. */
export function event (notice: Notice): string {
  return `${notice.type === 'reset' ? 'id: 0\n' : ''}data: ${JSON.stringify(notice)}\n\n`
}

export function stopped (end: RunEnd, rows: number, integerRuns: boolean, message: string): Notice {
  return { type: 'stopped', run_id: runInJson(end.run, integerRuns), status: end.status, rows, message: end.message ?? message }
}

function runInJson (run: SourceRow['run'], integerRuns: boolean): number | string | null {
  // The column may have got another type since it was looked up.
  return integerRuns && run !== null && /^-?\d+$/.test(run) ? exact(BigInt(run)) : run
}
