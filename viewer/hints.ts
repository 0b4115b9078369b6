// The sentences of the page.
import type { Stopped } from '../client/messages.ts'
import type { Clock } from './clock.ts'
import type { Entry } from './entry.ts'
import type { Find } from './find.ts'
import { TAIL, type Place } from './place.ts'
import { MAX_ENTRIES, MAX_SIZE } from './store.ts'

export const count = new Intl.NumberFormat('en')

export function rowsOf (number: number): string {
  return `${count.format(number)} ${number === 1 ? 'row' : 'rows'}`
}

/** Why the rows begin where they do: as the place says, with a new table, or since older ones were dropped. */
export type Beginning = 'place' | 'reset' | 'dropped'

/** Above the first row: what is not shown. `more`: what a link to all would say. */
export function above ({ run, levels, row, tail }: Place, beginning: Beginning): { text: string, more: string | null } {
  const only = levels === null ? '' : `Only these levels: ${levels.join(', ')}. Rows without a level are not shown.`
  if (beginning === 'dropped') return { text: `Older rows are not shown: the page keeps ${rowsOf(MAX_ENTRIES)}, or ${count.format(MAX_SIZE)} characters of them. ${only}`, more: null }
  if (beginning === 'reset') return { text: only, more: null }
  const most = run === null ? TAIL.most : Infinity
  const wanted = tail === 'all' ? most : run === null ? TAIL.all : TAIL.run
  const begins = row !== null ? 'Begins shortly before the row of the link. ' : wanted === Infinity ? '' : `Begins with the last ${rowsOf(wanted)} at most. `
  return { text: `${begins}${only}`, more: row === null && wanted === most ? null : run === null ? `Load ${count.format(most)}` : 'Load all' }
}

/** In the place of rows. */
export function noRows (hasEnded: boolean, { levels }: Place): string {
  return `${hasEnded ? 'No rows' : 'Waiting for rows'}${levels === null ? '' : ' of these levels'}`
}

export function full (rows: number): string {
  return `${rowsOf(rows)} are loaded, which is as many as fit. Reading goes on at the newest rows`
}

export function newRows (unread: number): string {
  return unread === 0 ? 'Newest rows' : `${count.format(unread)} new ${unread === 1 ? 'row' : 'rows'}`
}

export function found ({ needle, isWrong, count: matches, place }: Find): string {
  if (isWrong) return 'no pattern'
  if (needle === null) return ''
  return place === 0 ? count.format(matches) : `${count.format(place)} of ${count.format(matches)}`
}

export function ended ({ run_id: run, message, rows }: Stopped, { run: only }: Place, nameOf: (run: string) => string): string {
  return `${only === null && run !== null ? `${nameOf(String(run))} · ` : ''}${message} · ${rowsOf(rows)}`
}

/** What a screen reader says of a row that somebody has gone to. */
export function spoken ({ isNote, level, time, text }: Entry, clock: Clock): string {
  return `${isNote ? '' : `${level} ${clock.time(time)} `}${text.slice(0, 200)}`
}
