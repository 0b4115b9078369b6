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
  const levels = params.get('level')?.split(',').filter((level) => level !== '') ?? []
  const row = params.get('row')
  return {
    run: params.get('run_id') || null,
    levels: levels.length > 0 ? levels : null,
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

/** Whether both show the same rows of the stream. */
export function sameRows (a: Place, b: Place): boolean {
  return a.run === b.run && String(a.levels) === String(b.levels) && a.tail === b.tail
}
