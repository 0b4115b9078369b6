import { fit, isLevel } from './levels.ts'

/** Rows from before the page was opened. */
export const TAIL = { run: 2000, all: 500, most: 100_000 }
/** Ids before that of a linked row: what led to it. */
const BEFORE = 2000n

/** What is looked at. It lives in the URL, so that it can be linked, and goes back. */
export interface Place {
  run: string | null
  /** Null: all. */
  levels: string[] | null
  /** The id of a row. */
  row: string | null
  /** How many rows from before; null: as many as usual. */
  tail: 'all' | null
}

export function readPlace (search: string): Place {
  const params = new URLSearchParams(search)
  const levels = params.get('level')?.split(',').filter(isLevel) ?? []
  const row = params.get('row')
  return {
    run: params.get('run_id') || null,
    levels: levels.length > 0 && fit(levels) ? levels : null,
    row: row !== null && /^-?\d{1,19}$/.test(row) ? row : null,
    tail: params.get('tail') === 'all' ? 'all' : null
  }
}

/** As a link has it. */
export function linkTo ({ run, levels, row, tail }: Place): string {
  const params = new URLSearchParams()
  if (run !== null) params.set('run_id', run)
  if (levels !== null) params.set('level', levels.join())
  if (tail !== null) params.set('tail', tail)
  if (row !== null) params.set('row', row)
  // A comma may stand there, and reads better.
  return `?${String(params).replaceAll('%2C', ',')}`
}

/** Where its rows begin in the stream. */
export function startOf ({ run, row, tail }: Place): { after: string } | { tail: number } {
  if (row !== null) {
    const first = BigInt(row) - BEFORE
    return { after: String(first > 0n ? first : 0n) }
  }
  if (tail === 'all') return run === null ? { tail: TAIL.most } : { after: '0' }
  return { tail: run === null ? TAIL.all : TAIL.run }
}

/** Whether both show the same rows of the stream. */
export function sameRows (a: Place, b: Place): boolean {
  return a.run === b.run && String(a.levels) === String(b.levels) && a.tail === b.tail
}
