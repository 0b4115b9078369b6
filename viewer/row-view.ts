import type { Clock } from './clock.ts'
import { h, setText } from './dom.ts'
import { toneOf, type Entry } from './entry.ts'
import { MAX_SHOWN, type Look } from './estimate.ts'
import { count } from './hints.ts'
import { textView } from './text-view.ts'

export interface RowOptions {
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

export function rowView (entry: Entry, options: RowOptions): HTMLElement {
  const { id, run, time, level, text, extra } = entry
  if (id === null) return h('p', { class: 'note' }, h('span', {}, text))
  const { clock, dated, needle, selected, whole, nameOf, linkToRow, linkToRun } = options
  const shownTime = h('time', { title: `${clock.full(time)} · row ${id}` }, clock.time(time))
  if (dated) shownTime.prepend(h('span', { class: 'day' }, `${clock.day(time)} `))
  if (!Number.isNaN(time)) shownTime.dateTime = new Date(time).toISOString()
  const row = h('div', { class: 'row', 'data-id': String(id), 'data-level': level, 'data-tone': toneOf(level) },
    h('a', { class: 'time', href: linkToRow(String(id)), tabindex: '-1' }, shownTime),
    h('span', { class: 'level' }, level))
  if (selected) row.setAttribute('aria-current', 'true')
  if (nameOf !== null) row.append(chip(run === null ? null : String(run), nameOf, linkToRun))
  const cut = !whole && text.length > MAX_SHOWN
  const body = h('div', { class: 'body' }, textView('message', cut ? text.slice(0, MAX_SHOWN) : text, needle, entry.stylesOf(cut ? MAX_SHOWN : text.length)))
  if (cut) body.append(h('button', { type: 'button', class: 'whole' }, `Show all ${count.format(text.length)} characters`))
  if (extra !== '') body.append(' ', textView('extra', extra.slice(0, MAX_SHOWN), needle, []))
  row.append(body)
  return row
}

/** What a row in the page tells about the others. */
export function measureLook (row: Element): Look {
  const body = row.querySelector('.body')!
  const probe = h('span', { class: 'probe' }, '0'.repeat(100))
  body.append(probe)
  const character = probe.getBoundingClientRect().width / 100
  probe.remove()
  const { width, height } = body.getBoundingClientRect()
  return {
    columns: Math.max(10, Math.floor(width / character)),
    line: parseFloat(getComputedStyle(body).lineHeight),
    frame: row.getBoundingClientRect().height - height
  }
}

function chip (run: string | null, nameOf: (run: string) => string, linkToRun: (run: string) => string): HTMLElement {
  if (run === null) return h('span', { class: 'chip none' }, '–')
  const chip = h('a', { class: 'chip', href: linkToRun(run), tabindex: '-1' })
  chip.style.setProperty('--hue', String(hueOf(run)))
  nameChip(chip, nameOf(run))
  return chip
}

export function nameChip (chip: HTMLElement, name: string): void {
  setText(chip, name)
  chip.title = `Only ${name}`
}

/** Neighbours get colours far apart: the golden angle. */
function hueOf (run: string): number {
  let hash = 0
  for (let i = 0; i < run.length; i++) hash = (hash * 31 + run.charCodeAt(i)) % 100_003
  return Math.round(hash * 137.5) % 360
}
