import type { Row } from '../client/tail.ts'
import { Clock } from './clock.ts'
import { h } from './dom.ts'
import { Entry, toneOf } from './entry.ts'
import { estimate, MAX_SHOWN, UNKNOWN } from './estimate.ts'
import { Find } from './find.ts'
import { spoken } from './hints.ts'
import { List } from './list.ts'
import { linkTo, readPlace, type Place } from './place.ts'
import { measureLook, nameChip, rowView } from './row-view.ts'
import { asText } from './save.ts'
import { selectedOf } from './selection.ts'
import type { Setting, Settings } from './settings.ts'
import { Store } from './store.ts'

export interface RowsOptions {
  settings: Settings
  /** What a run is called. */
  nameOf: (run: string) => string
  onfollow: (following: boolean) => void
  /** There are more matches, or fewer, or another was gone to. */
  onfound: () => void
  /** Somebody has gone to a row. */
  onspeak: (text: string) => void
}

/** What is loaded, as it is shown: which row is selected, which ones are found, and how times are written. */
export class Rows {
  readonly element = h('div', { id: 'log', role: 'log', 'aria-live': 'off', 'aria-label': 'Log rows', tabindex: '0' })
  readonly list: List
  readonly find: Find
  /** Rows that have come below what is looked at. */
  unread = 0
  readonly #options: RowsOptions
  readonly #store = new Store()
  #place: Place = readPlace('')
  #clock: Clock
  #look = UNKNOWN
  /** Not all rows are of today. */
  #dated = false
  /** Long messages that are shown whole. */
  readonly #whole = new Set<number>()
  #selected = -1

  /** @param above what stands above the rows */
  constructor (above: HTMLElement, options: RowsOptions) {
    this.#options = options
    this.#clock = new Clock(options.settings.utc)
    this.element.append(above)
    this.list = new List({
      scroller: this.element,
      render: (number) => this.#render(number),
      estimate: (number) => estimate(this.#store.at(number), this.#look, { wrap: options.settings.wrap, whole: this.#whole.has(number) }),
      learn: () => this.#learn(),
      onfollow: (following) => {
        if (following) this.unread = 0
        options.onfollow(following)
      }
    })
    this.find = new Find(this.#store, options.onfound)
    document.fonts?.ready.then(() => this.list.remeasure())
    this.element.addEventListener('copy', (event) => this.#copy(event))
    this.element.addEventListener('click', ({ target }) => {
      if (target instanceof Element && target.closest('.whole') !== null) this.#showWhole(target.closest<HTMLElement>('.row')!.dataset['id']!)
    })
  }

  /** Of several rows, each in a line: a browser would write one for each cell. */
  #copy (event: ClipboardEvent): void {
    const rows = selectedOf(this.element.querySelectorAll<HTMLElement>('.row'))
    if (rows.length < 2 || event.clipboardData === null) return
    const entries = rows.map((row) => this.#store.at(this.#store.find(row.dataset['id']!)))
    event.clipboardData.setData('text/plain', asText(entries, this.#place.run === null).join(''))
    event.preventDefault()
  }

  // ---- What is there ----

  get count (): number {
    return this.#store.end - this.#store.first
  }

  get isFull (): boolean {
    return this.#store.isFull
  }

  /** The rows without the notes between them. */
  get all (): Entry[] {
    return this.#store.rows()
  }

  /** For another place, or a new table. */
  clear (place: Place): void {
    this.#place = place
    this.#store.clear()
    this.#whole.clear()
    this.#selected = -1
    this.unread = 0
    this.#dated = false
    this.element.classList.remove('dated')
    this.list.clear(this.#store.first)
    this.find.restart()
  }

  /** Returns whether older ones were dropped for them. */
  add (rows: readonly Row[]): boolean {
    for (const row of rows) {
      const entry = Entry.of(row)
      this.#store.push(entry)
      if (!this.#dated && !this.#clock.isToday(entry.time)) this.#showDates()
    }
    this.list.append(rows.length)
    if (!this.list.following) this.unread += rows.length
    this.find.more()
    // Who reads further up keeps what is there.
    return this.list.following && this.#trim()
  }

  note (text: string): void {
    this.#store.push(Entry.note(text))
    this.list.append(1)
  }

  #trim (): boolean {
    if (!this.#store.trim()) return false
    const { first } = this.#store
    this.list.dropTo(first)
    for (const number of this.#whole) if (number < first) this.#whole.delete(number)
    if (this.#selected < first) this.#selected = -1
    return true
  }

  // ---- How it looks ----

  /** A setting has changed. */
  apply (name: Setting): void {
    if (name === 'wrap') this.list.remeasure()
    if (name !== 'utc') return
    this.#clock = new Clock(this.#options.settings.utc)
    this.list.renewAll()
  }

  /** Runs have got names, or others. */
  rename (): void {
    for (const chip of this.element.querySelectorAll<HTMLAnchorElement>('a.chip')) nameChip(chip, this.#options.nameOf(readPlace(chip.search).run!))
  }

  #render (number: number): HTMLElement {
    const { run, levels, tail } = this.#place
    return rowView(this.#store.at(number), {
      clock: this.#clock,
      dated: this.#dated,
      needle: this.find.needle,
      selected: number === this.#selected,
      whole: this.#whole.has(number),
      nameOf: run === null ? this.#options.nameOf : null,
      linkToRow: (row) => linkTo({ run, levels, row, tail }),
      linkToRun: (run) => linkTo({ run, levels, row: null, tail: null })
    })
  }

  #learn (): boolean {
    const row = this.element.querySelector('.row')
    if (row === null) return false
    this.#look = measureLook(row)
    return true
  }

  #showDates (): void {
    this.#dated = true
    this.element.classList.add('dated')
    this.list.remeasure()
  }

  #showWhole (id: string): void {
    const number = this.#store.find(id)
    this.#whole.add(number)
    this.list.renew(number)
  }

  // ---- Going to a row ----

  get selected (): Entry | null {
    return this.#selected === -1 ? null : this.#store.at(this.#selected)
  }

  /** Returns whether it is here. */
  select (id: string): boolean {
    const number = this.#store.find(id)
    if (number !== -1) this.#select(number)
    return number !== -1
  }

  /** Whether the stream has got beyond it. */
  isPast (id: string): boolean {
    const last = this.#store.lastRow
    return last !== undefined && BigInt(last.id!) > BigInt(id)
  }

  /** To the row below the selected one, or above. */
  move (step: 1 | -1): void {
    const { first, end } = this.#store
    if (first < end) this.#goTo(Math.min(end - 1, Math.max(first, this.#from(step) + step)))
  }

  /** To the next error, or the one before. Returns whether there is one. */
  moveToError (step: 1 | -1): boolean {
    const { first, end } = this.#store
    let number = this.#from(step) + step
    while (number >= first && number < end && toneOf(this.#store.at(number).level) !== 'error') number += step
    if (number < first || number >= end) return false
    this.#goTo(number)
    return true
  }

  /** Empty: nothing is looked for any more. */
  search (text: string): void {
    this.find.set(text)
    this.list.renewAll()
  }

  /** To the next match, or the one before. */
  moveToMatch (step: 1 | -1): void {
    const { find } = this
    const number = find.go(find.current === -1 ? this.#from(step) : find.current, step)
    if (number === -1) return
    const { text } = this.#store.at(number)
    if (find.needle!.test(text) && !find.needle!.test(text.slice(0, MAX_SHOWN))) this.#whole.add(number)
    this.#goTo(number, `${find.place} of ${find.count}: `)
    this.list.revealIn(number, 'mark')
    this.#options.onfound()
  }

  /** Where none is selected, from what is seen. */
  #from (step: 1 | -1): number {
    if (this.#selected !== -1) return this.#selected
    const { first, last } = this.list.inView
    return step === 1 ? first - 1 : last + 1
  }

  #goTo (number: number, which = ''): void {
    this.#select(number)
    this.#options.onspeak(which + spoken(this.#store.at(number), this.#clock))
  }

  #select (number: number): void {
    const before = this.#selected
    this.#selected = number
    this.list.renew(before)
    this.list.renew(number)
    this.list.reveal(number)
  }
}
