import type { Clock } from './clock.ts'
import { h } from './dom.ts'
import { toneOf, type Entry } from './entry.ts'

/** Characters of a message that are shown until somebody asks for all. */
export const MAX_SHOWN = 20_000
/** Marks in one row: a message may be nothing but matches. */
const MAX_MARKS = 500

export interface RowLook {
  clock: Clock
  /** The day as well. */
  dated: boolean
  needle: RegExp | null
  selected: boolean
  /** All of a long message. */
  whole: boolean
  /** What a run is called; null: no chip. */
  nameOf: ((run: string) => string) | null
  linkToRow: (id: string) => string
  linkToRun: (run: string) => string
}

export function rowView (entry: Entry, look: RowLook): HTMLElement {
  if (entry.id === null) return h('p', { class: 'note' }, h('span', {}, entry.text))
  const { clock, dated, needle, selected, whole, nameOf, linkToRow, linkToRun } = look
  const time = h('time', { title: `${clock.full(entry.time)} · row ${entry.id}` }, clock.time(entry.time))
  if (dated) time.prepend(h('span', { class: 'day' }, `${clock.day(entry.time)} `))
  if (!Number.isNaN(entry.time)) time.dateTime = new Date(entry.time).toISOString()
  const row = h('div', { class: 'row', 'data-id': entry.id, 'data-level': entry.level, 'data-tone': toneOf(entry.level) },
    h('a', { class: 'time', href: linkToRow(entry.id), tabindex: '-1', 'aria-label': `Link to row ${entry.id}` }, time),
    h('span', { class: 'level' }, entry.level))
  if (selected) row.setAttribute('aria-current', 'true')
  if (nameOf !== null) row.append(chip(entry.run, nameOf, linkToRun))
  const message = h('span', { class: 'message' })
  mark(message, whole ? entry.text : entry.text.slice(0, MAX_SHOWN), needle)
  if (!whole && entry.text.length > MAX_SHOWN) {
    row.append(h('span', {}, message, h('button', { type: 'button', class: 'whole' }, `Show all ${new Intl.NumberFormat('en').format(entry.text.length)} characters`)))
  } else if (entry.extra !== '') {
    const extra = h('span', { class: 'extra' })
    mark(extra, entry.extra.slice(0, MAX_SHOWN), needle)
    row.append(h('span', {}, message, ' ', extra))
  } else row.append(message)
  return row
}

function chip (run: string | null, nameOf: (run: string) => string, linkToRun: (run: string) => string): HTMLElement {
  if (run === null) return h('span', { class: 'chip none' }, '–')
  const name = nameOf(run)
  const chip = h('a', { class: 'chip', href: linkToRun(run), tabindex: '-1', title: `Only ${name}` }, name)
  chip.style.setProperty('--hue', String(hueOf(run)))
  return chip
}

/** Neighbours get colours far apart: the golden angle. */
function hueOf (run: string): number {
  let hash = 0
  for (let i = 0; i < run.length; i++) hash = (hash * 31 + run.charCodeAt(i)) % 100_003
  return Math.round(hash * 137.5) % 360
}

function mark (element: HTMLElement, text: string, needle: RegExp | null): void {
  if (needle === null) {
    element.textContent = text
    return
  }
  let from = 0
  let count = 0
  for (const { 0: found, index } of text.matchAll(new RegExp(needle, 'gi'))) {
    if (count++ === MAX_MARKS) break
    element.append(text.slice(from, index), h('mark', {}, found))
    from = index + found.length
  }
  element.append(text.slice(from))
}
