// The sentences of the page.
import type { Stopped } from '../client/messages.ts'
import type { Clock } from './clock.ts'
import type { Entry } from './entry.ts'
import type { Find } from './find.ts'
import { startOf, TAIL, type Place } from './place.ts'
import { MAX_ENTRIES, MAX_SIZE } from './store.ts'

export const count = new Intl.NumberFormat('en')

export function rowsOf (number: number): string {
  return `${count.format(number)} ${number === 1 ? 'row' : 'rows'}`
}

/** Why the rows begin where they do: as the place says, with a new table, since older ones were dropped, or since no others are to be had. */
export type Beginning = 'place' | 'reset' | 'dropped' | 'all'

/** Above the first of so many rows: what is not shown. `more`: what a link to all would say. */
export function above (place: Place, beginning: Beginning, rows: number): { text: string, more: string | null } {
  const { run, levels, row, tail } = place
  const only = levels === null ? '' : `Only these levels: ${levels.join(', ')}. Rows without a level are not shown.`
  if (beginning === 'dropped') return { text: `Older rows are not shown: the page keeps ${rowsOf(MAX_ENTRIES)}, or ${count.format(MAX_SIZE)} characters of them. ${only}`, more: null }
  const start = startOf(place)
  // With fewer rows than it asks for there are no others, or they are still to come.
  const mayBeMore = 'tail' in start ? rows >= start.tail : start.after !== '0' && rows > 0
  if (beginning !== 'place' || !mayBeMore) return { text: only, more: null }
  const begins = 'tail' in start ? `Begins with the last ${rowsOf(start.tail)} at most. ` : 'Begins shortly before the row of the link. '
  const isMost = run === null && row === null && tail === 'all'
  return { text: `${begins}${only}`, more: isMost ? null : run === null ? `Load ${count.format(TAIL.most)}` : 'Load all' }
}

/** In the place of rows. */
export function noRows (hasEnded: boolean, { levels }: Place): string {
  return `${hasEnded ? 'No rows' : 'Waiting for rows'}${levels === null ? '' : ' of these levels'}`
}

export function full (rows: number): string {
  return `${rowsOf(rows)} are loaded, as many as fit: go to the newest rows to read on`
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
