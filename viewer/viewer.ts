import { tail, type Row, type State, type Stopped, type Tail } from '../client/tail.ts'
import { Clock } from './clock.ts'
import { h, setText } from './dom.ts'
import { Entry, toneOf } from './entry.ts'
import { Find } from './find.ts'
import { keysOf } from './key-map.ts'
import { Keys } from './keys.ts'
import { List } from './list.ts'
import { linkTo, readPlace, sameRows, type Place } from './place.ts'
import { MAX_SHOWN, rowView } from './row-view.ts'
import { asJson, asText, copy, download } from './save.ts'
import { MAX_ENTRIES, Store } from './store.ts'
import { Settings } from './settings.ts'
import { Toolbar } from './toolbar.ts'

/** Rows from before the page was opened. */
const TAIL = { run: 2000, all: 500, most: 100_000 }
/** Ids before that of a linked row: what led to it. */
const BEFORE = 2000n
/** Levels that get a button. */
const MAX_LEVELS = 16

const count = new Intl.NumberFormat('en')
const rowsOf = (number: number) => `${count.format(number)} ${number === 1 ? 'row' : 'rows'}`

export interface ViewerOptions {
  /** URL of the stream. */
  stream: string
  /** Names of levels to begin with. */
  levels: string[]
  /** What a run is called. Default: its id. */
  nameOf?: (run: string) => string
  /** What is known of it, in a few words. */
  aboutRun?: (run: string) => string
  /** What stands before the title. */
  lead?: HTMLElement[]
  /** It shows another place. */
  onplace?: (place: Place) => void
  onstopped?: (stopped: Stopped) => void
}

/** A log in an element: what the URL names, live. */
export class Viewer {
  place: Place = readPlace('')
  readonly #options: ViewerOptions
  readonly #store = new Store()
  readonly #list: List
  readonly #find: Find
  readonly #toolbar: Toolbar
  readonly #keys: Keys
  readonly #settings: Settings
  readonly #log = h('div', { id: 'log', role: 'log', 'aria-live': 'off', 'aria-label': 'Log rows', tabindex: '0' })
  readonly #older = h('p', { id: 'older' })
  readonly #empty = h('p', { id: 'empty' })
  readonly #jump = h('button', { id: 'jump', type: 'button', hidden: true })
  readonly #said = h('p', { id: 'said', role: 'status' })
  #clock: Clock
  #levels: string[]
  #tail: Tail | undefined
  #state: State = 'connecting'
  /** Reading was stopped, since no more fits while somebody reads further up. */
  #held = false
  #unread = 0
  #selected = -1
  /** The row of the link is still to come. */
  #wanted: string | null = null
  readonly #whole = new Set<number>()
  #dated = false
  /** Characters in a line. */
  #columns = 100
  #sayTimer: ReturnType<typeof setTimeout> | undefined

  constructor (root: HTMLElement, options: ViewerOptions) {
    this.#options = options
    this.#levels = [...options.levels]
    this.#settings = new Settings(root, () => this.#applySettings())
    this.#clock = new Clock(this.#settings.utc)
    const map = keysOf(this)
    this.#toolbar = new Toolbar({
      lead: options.lead ?? [],
      onlevel: (level) => this.toggleLevel(level),
      onfind: (text) => this.#search(text),
      onstep: (step) => this.step(step),
      onleavefind: () => this.leaveFind(),
      actions: map.actions
    })
    this.#log.append(this.#older)
    root.classList.add('pg-tail')
    this.#keys = new Keys(map.keys)
    root.append(this.#toolbar.element, h('div', { id: 'view' }, this.#log, this.#empty, this.#jump, this.#said), this.#keys.dialog)
    this.#list = new List({
      scroller: this.#log,
      render: (number) => this.#render(number),
      estimate: (number) => this.#estimate(number),
      onfollow: (following) => this.#followed(following)
    })
    this.#find = new Find(this.#store, () => this.#showFound())
    this.#jump.addEventListener('click', () => this.newest())
    // It lies over the rows, and must not stop the wheel.
    this.#jump.addEventListener('wheel', ({ deltaY }) => this.#list.scrollBy(deltaY), { passive: true })
    root.addEventListener('click', (event) => this.#clicked(event))
    window.addEventListener('popstate', () => this.show())
    document.fonts?.ready.then(() => this.#measureColumns())
    new ResizeObserver(() => this.#measureColumns()).observe(this.#log)
    this.#applySettings()
  }

  /** What the URL says. */
  show (): void {
    const place = readPlace(location.search)
    const same = this.#tail !== undefined && sameRows(place, this.place)
    this.place = place
    this.#wanted = place.row
    this.#options.onplace?.(place)
    this.refreshNames()
    this.#showLevels()
    if (same && (place.row === null || this.#store.find(place.row) !== -1)) this.#showWanted()
    else this.#open()
  }

  go (place: Place): void {
    history.pushState(null, '', linkTo(place))
    this.show()
  }

  /** Runs have got names, or others. */
  refreshNames (): void {
    const { run } = this.place
    const { nameOf = plainName, aboutRun } = this.#options
    const title = run === null ? 'All runs' : nameOf(run)
    this.#toolbar.showTitle(title, run === null ? '' : aboutRun?.(run) ?? '')
    document.title = `${title} · log`
    if (run === null) {
      for (const chip of this.#log.querySelectorAll('.chip:not(.none)')) {
        const of = readPlace((chip as HTMLAnchorElement).search).run
        if (of !== null) setText(chip, nameOf(of))
      }
    }
  }

  // ---- The stream ----

  #open (): void {
    const { run, levels, row, tail: all } = this.place
    this.#clear()
    const first = row === null ? null : BigInt(row) - BEFORE
    if (row !== null) this.#start({ after: String(first! > 0n ? first : 0n) })
    else if (all === 'all') this.#start(run === null ? { tail: TAIL.most } : { after: '0' })
    else this.#start({ tail: run === null ? TAIL.all : TAIL.run })
    this.#showOlder(row !== null || all !== null || levels !== null)
  }

  #start (where: { after: string } | { tail: number }): void {
    this.#tail?.close()
    this.#held = false
    const { run, levels } = this.place
    const mine = this.#tail = tail(this.#options.stream, {
      run,
      level: levels,
      ...where,
      onrows: (rows) => { if (mine === undefined || mine === this.#tail) this.#add(rows) },
      onstate: (state, reason) => { if (mine === this.#tail) this.#showState(state, reason) },
      onreset: (message) => {
        this.#clear()
        this.#note(message)
      },
      onstopped: (stopped) => {
        const { nameOf = plainName } = this.#options
        const name = run === null && stopped.run_id !== null ? `${nameOf(String(stopped.run_id))} · ` : ''
        this.#note(`${name}${stopped.message} · ${rowsOf(stopped.rows)}`)
        this.#options.onstopped?.(stopped)
      }
    })
    this.#showState('connecting', '')
  }

  #clear (): void {
    this.#store.clear()
    this.#whole.clear()
    this.#selected = -1
    this.#unread = 0
    this.#dated = false
    this.#log.classList.remove('dated')
    this.#list.clear(this.#store.first)
    this.#find.restart()
    this.#showEmpty()
    this.#showJump()
  }

  #add (rows: Row[]): void {
    for (const row of rows) {
      const entry = Entry.of(row)
      this.#store.push(entry)
      if (entry.level !== '' && !this.#levels.includes(entry.level) && this.#levels.length < MAX_LEVELS) {
        this.#levels.push(entry.level)
        this.#showLevels()
      }
      if (!this.#dated && !this.#clock.isToday(entry.time)) this.#showDates()
    }
    this.#list.append(rows.length)
    this.#unread += this.#list.following ? 0 : rows.length
    if (!this.#list.following && this.#store.isFull) this.#hold()
    else this.#trim()
    this.#find.more()
    this.#showEmpty()
    this.#showWanted()
    this.#showJump()
  }

  #note (text: string): void {
    this.#store.push(Entry.note(text))
    this.#list.append(1)
    this.#showEmpty()
  }

  #trim (): void {
    if (!this.#store.trim()) return
    const { first } = this.#store
    this.#list.dropTo(first)
    for (const number of this.#whole) if (number < first) this.#whole.delete(number)
    if (this.#selected < first) this.#selected = -1
    setText(this.#older, `The page keeps the newest ${rowsOf(MAX_ENTRIES)}: older ones are not shown.`)
  }

  /** Somebody reads what would have to go. */
  #hold (): void {
    if (this.#held) return
    this.#held = true
    this.#tail!.close()
    this.#toolbar.showState('paused', `${rowsOf(this.#store.end - this.#store.first)} are loaded, which is as many as fit`)
  }

  #showState (state: State, reason: string): void {
    if (this.#held) return
    // News of how rows arrive stands among them, but not what is so from the start.
    if (state !== this.#state && (state === 'refused' || (state === 'polling' && this.#state === 'live'))) this.#note(reason)
    this.#state = state
    this.#toolbar.showState(state, reason)
    this.#showEmpty()
    this.#showWanted()
  }

  // ---- What is shown ----

  #render (number: number): HTMLElement {
    const { run, levels, tail } = this.place
    return rowView(this.#store.at(number), {
      clock: this.#clock,
      dated: this.#dated,
      needle: this.#find.needle,
      selected: number === this.#selected,
      whole: this.#whole.has(number),
      nameOf: run === null ? this.#options.nameOf ?? plainName : null,
      linkToRow: (row) => linkTo({ run, levels, row, tail }),
      linkToRun: (run) => linkTo({ run, levels, row: null, tail: null })
    })
  }

  #estimate (number: number): number {
    const { text, extra, id } = this.#store.at(number)
    let lines = 0
    const end = this.#whole.has(number) ? text.length : Math.min(text.length, MAX_SHOWN)
    for (let from = 0, to; from <= end; from = to + 1) {
      to = text.indexOf('\n', from)
      if (to === -1 || to > end) to = end
      lines += this.#settings.wrap ? Math.max(1, Math.ceil((to - from + (to === end ? extra.length : 0)) / this.#columns)) : 1
    }
    return lines * 20 + (id === null ? 8 : 2)
  }

  #measureColumns (): void {
    const message = this.#log.querySelector('.row .message')
    if (message === null) return
    const probe = h('span', {}, '0'.repeat(100))
    message.append(probe)
    const width = probe.getBoundingClientRect().width / 100
    probe.remove()
    const columns = Math.max(10, Math.floor((this.#log.clientWidth - (message.getBoundingClientRect().left - this.#log.getBoundingClientRect().left) - 16) / width))
    if (columns === this.#columns) return
    this.#columns = columns
    this.#list.refresh()
  }

  #showDates (): void {
    this.#dated = true
    this.#log.classList.add('dated')
    this.#list.refresh()
  }

  #showEmpty (): void {
    this.#empty.hidden = this.#store.end > this.#store.first
    setText(this.#empty, this.#state === 'ended' ? 'No rows' : this.#state === 'refused' ? 'You may not see these rows' : 'Waiting for rows')
  }

  #showOlder (given: boolean): void {
    const { run } = this.place
    const tail = run === null ? TAIL.all : TAIL.run
    if (given && this.place.levels === null) return setText(this.#older, this.place.row === null ? '' : 'Begins shortly before the row of the link.')
    const all = linkTo({ ...this.place, row: null, tail: 'all' })
    this.#older.replaceChildren(`Begins with the last ${count.format(tail)} rows at most. `, h('a', { href: all }, run === null ? `Load ${count.format(TAIL.most)}` : 'Load all'))
  }

  #showLevels (): void {
    for (const level of this.place.levels ?? []) if (!this.#levels.includes(level)) this.#levels.push(level)
    this.#toolbar.showLevels(this.#levels, this.place)
  }

  #showJump (): void {
    this.#jump.hidden = this.#list.following
    setText(this.#jump, this.#unread === 0 ? 'Newest rows' : `${count.format(this.#unread)} new ${this.#unread === 1 ? 'row' : 'rows'}`)
  }

  #followed (following: boolean): void {
    if (following) this.#unread = 0
    this.#showJump()
    if (following && this.#held) this.#start({ after: this.#tail!.cursor! })
  }

  #showWanted (): void {
    if (this.#wanted === null) return
    const number = this.#store.find(this.#wanted)
    if (number !== -1) {
      this.#wanted = null
      this.#select(number)
    } else if (['live', 'polling', 'ended'].includes(this.#state) && this.#isPast(this.#wanted)) {
      this.say(`Row ${this.#wanted} is not here`)
      this.#wanted = null
    }
  }

  /** Whether the stream has got beyond it. */
  #isPast (id: string): boolean {
    const { first, end } = this.#store
    return end > first && BigInt(this.#store.at(end - 1).id ?? 0) > BigInt(id)
  }

  #select (number: number): void {
    const before = this.#selected
    this.#selected = number
    if (before >= this.#store.first) this.#list.renew(before)
    this.#list.renew(number)
    this.#list.reveal(number)
    this.#showJump()
  }

  #clicked (event: MouseEvent): void {
    const { target, button, ctrlKey, metaKey, shiftKey } = event
    if (!(target instanceof Element)) return
    const link = target.closest('a')
    if (link !== null && link.getAttribute('href')?.startsWith('?') && button === 0 && !ctrlKey && !metaKey && !shiftKey) {
      event.preventDefault()
      this.go(readPlace(link.search))
    }
    if (target.closest('.whole') === null) return
    const number = this.#store.find(target.closest<HTMLElement>('.row')!.dataset['id']!)
    this.#whole.add(number)
    this.#list.renew(number)
  }

  #applySettings (): void {
    this.#clock = new Clock(this.#settings.utc)
    for (const name of ['utc', 'wrap'] as const) this.#toolbar.press(name, this.#settings[name])
    this.#list.refresh()
  }

  // ---- Finding ----

  #search (text: string): void {
    this.#find.set(text)
    this.#list.refresh()
  }

  #showFound (): void {
    const { needle, count: matches, place } = this.#find
    this.#toolbar.showFound(needle === null ? '' : place === 0 ? count.format(matches) : `${count.format(place)} of ${count.format(matches)}`)
  }

  // ---- What buttons and keys do ----

  /** To the next match, or the one before; from the newest up, at first. */
  step (step: 1 | -1): void {
    const { current } = this.#find
    const from = current !== -1 ? current : this.#selected !== -1 ? this.#selected : step === 1 ? this.#list.top - 1 : this.#store.end
    const number = this.#find.go(from, step)
    if (number === -1) return
    this.#select(number)
    this.#showFound()
  }

  focusFind (): void {
    this.#toolbar.find.focus()
    this.#toolbar.find.select()
  }

  leaveFind (): void {
    this.#toolbar.find.value = ''
    this.#search('')
    this.#log.focus()
  }

  /** The row below the one that is chosen, or above. */
  move (step: 1 | -1): void {
    const { first, end } = this.#store
    if (first === end) return
    const from = this.#selected !== -1 ? this.#selected : this.#list.following ? end : this.#list.top - 1
    this.#select(Math.min(end - 1, Math.max(first, from + step)))
  }

  /** The next error, or the one before. */
  moveToError (step: 1 | -1): void {
    const { first, end } = this.#store
    let number = (this.#selected !== -1 ? this.#selected : end) + step
    while (number >= first && number < end && toneOf(this.#store.at(number).level) !== 'error') number += step
    if (number >= first && number < end) this.#select(number)
    else this.say(step === 1 ? 'No error below' : 'No error above')
  }

  oldest (): void {
    this.#list.toStart()
  }

  newest (): void {
    this.#list.follow()
    this.#log.focus({ preventScroll: true })
  }

  toggleLevel (level: string): void {
    const chosen = this.place.levels ?? this.#levels
    const levels = chosen.includes(level) ? chosen.filter((other) => other !== level) : [...chosen, level]
    // In the order of the buttons. None at all would show nothing for ever: then rather all.
    const sorted = this.#levels.filter((level) => levels.includes(level))
    this.go({ ...this.place, levels: sorted.length === 0 || sorted.length === this.#levels.length ? null : sorted, row: null })
  }

  toggleLevelAt (index: number): void {
    const level = this.#levels[index]
    if (level !== undefined) this.toggleLevel(level)
  }

  allLevels (): void {
    this.go({ ...this.place, levels: null, row: null })
  }

  get settings (): Settings {
    return this.#settings
  }

  help (): void {
    this.#keys.toggle()
  }

  async copyLink (): Promise<void> {
    const entry = this.#selected === -1 ? null : this.#store.at(this.#selected)
    if (entry?.id) history.replaceState(null, '', linkTo({ ...this.place, row: entry.id }))
    this.say(await copy(location.href) ? `The link to ${entry?.id ? `row ${entry.id}` : 'this log'} is copied` : 'It could not be copied')
  }

  async copyRows (): Promise<void> {
    const entries = this.#store.entries()
    const done = await copy(asText(entries, this.place.run === null))
    this.say(done ? `${rowsOf(entries.filter(({ id }) => id !== null).length)} copied` : 'They could not be copied')
  }

  download (form: 'log' | 'jsonl'): void {
    const { run } = this.place
    const entries = this.#store.entries()
    const name = `${run === null ? 'log' : `run-${run.replace(/[^\w.-]/g, '_')}`}-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.${form}`
    download(form === 'log' ? asText(entries, run === null) : asJson(entries), name)
  }

  /** For a moment. */
  say (text: string): void {
    clearTimeout(this.#sayTimer)
    setText(this.#said, text)
    this.#sayTimer = setTimeout(() => setText(this.#said, ''), 4000)
  }
}

function plainName (run: string): string {
  return `Run ${run}`
}
