import type { Row, Stopped } from '../client/tail.ts'
import { Commands } from './commands.ts'
import { h, setText } from './dom.ts'
import { above, ended, found, full, newRows, noRows, type Beginning } from './hints.ts'
import { keysOf } from './key-map.ts'
import { Keys } from './keys.ts'
import { Levels } from './levels.ts'
import { linkTo, readPlace, sameRows, type Place } from './place.ts'
import { Reading, type Phase } from './reading.ts'
import { Rows } from './rows.ts'
import { Settings } from './settings.ts'
import { Toolbar } from './toolbar.ts'

export interface ViewerOptions {
  /** URL of the stream. */
  stream: string
  /** Milliseconds without a byte after which a connection is given up for another. Default: 45000, as the client's. */
  timeout?: number
  /** Names of levels to begin with. */
  levels: string[]
  /** What a run is called. Default: its id. */
  nameOf?: (run: string) => string
  /** What is known of it, in a few words; with times in UTC, or local ones. */
  aboutRun?: (run: string, utc: boolean) => string
  /** What stands before the title. */
  lead?: HTMLElement[]
  /** It shows another place. */
  onplace?: (place: Place) => void
  onstopped?: (stopped: Stopped) => void
}

/** A log in an element: what the URL names, live. */
export class Viewer {
  place: Place = readPlace('')
  readonly #options: Required<ViewerOptions>
  readonly #settings: Settings
  readonly #levels: Levels
  readonly #rows: Rows
  readonly #reading: Reading
  readonly #toolbar: Toolbar
  readonly #above = h('p', { id: 'older' })
  readonly #empty = h('p', { id: 'empty' })
  readonly #jump = h('button', { id: 'jump', type: 'button', hidden: true })
  readonly #said = h('p', { id: 'said', role: 'status' })
  readonly #spoken = h('p', { class: 'unseen', 'aria-live': 'polite' })
  #sayTimer: ReturnType<typeof setTimeout> | undefined
  /** The row of the link is still to come. */
  #wanted: string | null = null
  #beginning: Beginning = 'place'
  /** So many rows have come, without notes. */
  #loaded = 0
  /** The last news among the rows. */
  #noted = ''

  constructor (root: HTMLElement, options: ViewerOptions) {
    this.#options = { timeout: 45_000, nameOf: (run) => `Run ${run}`, aboutRun: () => '', lead: [], onplace: () => {}, onstopped: () => {}, ...options }
    const { stream, timeout, levels, lead, nameOf } = this.#options
    this.#settings = new Settings(root, (name) => {
      this.#rows.apply(name)
      this.#showSettings()
      if (name === 'utc') this.refreshNames()
    })
    this.#levels = new Levels(levels)
    this.#rows = new Rows(this.#above, {
      settings: this.#settings,
      nameOf,
      onfollow: (following) => {
        this.#showJump()
        if (following) this.#reading.resume()
      },
      onfound: () => this.#toolbar.showFound(found(this.#rows.find)),
      onspeak: (text) => setText(this.#spoken, text)
    })
    this.#reading = new Reading({
      stream,
      timeout,
      onrows: (rows) => this.#add(rows),
      onstate: (state, reason, before) => this.#showState(state, reason, before),
      onreset: (message) => {
        // It was to begin near the row of the link, which is beyond all that there are.
        if (this.#wanted !== null && this.#rows.count === 0) return this.#miss()
        this.#clear('reset')
        this.#note(message)
      },
      onstopped: (stopped) => {
        if (this.place.run !== null && stopped.rows <= this.#loaded) this.#noOthers()
        this.#note(ended(stopped, this.place, nameOf))
        this.#options.onstopped(stopped)
      }
    })
    const commands = new Commands({
      rows: this.#rows,
      levels: this.#levels,
      settings: this.#settings,
      place: () => this.place,
      go: (place) => this.go(place),
      say: (text) => this.#say(text),
      find: () => this.#toolbar.find
    })
    const map = keysOf(commands, this.#rows, this.#settings, () => keys.toggle())
    this.#toolbar = new Toolbar({
      lead,
      onlevel: (level) => commands.toggleLevel(level),
      onfind: (text) => this.#rows.search(text),
      onstep: (step) => this.#rows.moveToMatch(step),
      onleavefind: () => commands.leaveFind(),
      actions: map.actions
    })
    const keys = new Keys(map.keys, root, this.#settings)
    root.classList.add('pg-tail', 'pg-tail-log')
    root.append(this.#toolbar.element, h('div', { id: 'view' }, this.#rows.element, this.#empty, this.#jump, this.#said, this.#spoken), keys.dialog)
    this.#jump.addEventListener('click', () => commands.newest())
    // It lies over the rows, and must not stop the wheel.
    this.#jump.addEventListener('wheel', ({ deltaY }) => this.#rows.list.scrollBy(deltaY), { passive: true })
    root.addEventListener('click', (event) => this.#clicked(event))
    window.addEventListener('popstate', () => this.show())
    this.#showSettings()
  }

  /** What the URL says. */
  show (): void {
    const before = this.place
    this.place = readPlace(location.search)
    const { row, levels } = this.place
    this.#options.onplace(this.place)
    this.refreshNames()
    this.#levels.choose(levels)
    this.#showLevels()
    // A row that is here already needs no other rows.
    const isHere = this.#reading.isOpen && sameRows(before, this.place) && (row === null || this.#rows.select(row))
    this.#wanted = isHere ? null : row
    if (!isHere) this.#open()
  }

  go (place: Place): void {
    history.pushState(null, '', linkTo(place))
    this.show()
  }

  /** So that keys scroll it, after somebody has gone to it from elsewhere in the page. */
  focus (): void {
    this.#rows.element.focus({ preventScroll: true })
  }

  /** Runs have got names, or others. */
  refreshNames (): void {
    const { run } = this.place
    const { nameOf, aboutRun } = this.#options
    const title = run === null ? 'All runs' : nameOf(run)
    this.#toolbar.showTitle(title, run === null ? '' : aboutRun(run, this.#settings.utc))
    document.title = `${title} · log`
    this.#rows.rename()
  }

  // ---- The stream ----

  #open (): void {
    // First: rows that are cleared are followed, and what was held must not go on.
    this.#reading.close()
    this.#clear('place')
    this.#reading.open(this.place)
  }

  #clear (beginning: Beginning): void {
    this.#beginning = beginning
    this.#loaded = 0
    this.#noted = ''
    this.#rows.clear(this.place)
    this.#showAbove()
    this.#showEmpty()
    this.#showJump()
  }

  #add (rows: Row[]): void {
    let others = false
    for (const { level } of rows) if (level !== null && this.#levels.see(level)) others = true
    if (others) this.#showLevels()
    this.#loaded += rows.length
    if (this.#rows.add(rows)) this.#beginning = 'dropped'
    this.#showAbove()
    if (!this.#rows.list.following && this.#rows.isFull) this.#reading.hold(full(this.#rows.count))
    this.#showEmpty()
    this.#showWanted()
    this.#showJump()
  }

  #note (text: string): void {
    this.#rows.note(text)
    this.#showEmpty()
  }

  #showState (state: Phase, reason: string, before: Phase): void {
    // News of how rows arrive stands among them, but not what is so from the start, and not each turn of tabs that take turns.
    if (state !== before && (state === 'refused' || (state === 'polling' && before === 'live')) && reason !== this.#noted) {
      this.#noted = reason
      this.#note(reason)
    }
    if (state === 'refused') this.#noOthers()
    this.#toolbar.showState(state, reason)
    this.#showEmpty()
    this.#showWanted()
  }

  // ---- What is shown ----

  /** Than those that are here: all are, or no more are to be had. */
  #noOthers (): void {
    if (this.#beginning === 'place') this.#beginning = 'all'
    this.#showAbove()
  }

  #showAbove (): void {
    const { text, more } = above(this.place, this.#beginning, this.#loaded)
    const link = more === null ? [] : [' ', h('a', { href: linkTo({ ...this.place, row: null, tail: 'all' }) }, more)]
    const shown = h('p', { id: 'older' }, text, ...link)
    // A link that is looked at, or has the focus, stays the same.
    if (!shown.isEqualNode(this.#above)) this.#above.replaceChildren(...shown.childNodes)
  }

  #showEmpty (): void {
    this.#empty.hidden = this.#rows.count > 0
    setText(this.#empty, noRows(this.#reading.state === 'ended', this.place))
  }

  #showLevels (): void {
    this.#toolbar.showLevels(this.#levels.names, this.place.levels)
  }

  #showJump (): void {
    const { unread, list } = this.#rows
    this.#jump.hidden = list.following
    setText(this.#jump, newRows(unread))
  }

  #showSettings (): void {
    for (const name of ['utc', 'wrap'] as const) this.#toolbar.press(name, this.#settings[name])
  }

  #showWanted (): void {
    const id = this.#wanted
    if (id === null) return
    if (this.#rows.select(id)) this.#wanted = null
    else if (this.#reading.state === 'ended' || this.#rows.isPast(id)) this.#miss()
  }

  /** The row of the link is not there: the place without it. */
  #miss (): void {
    this.#say(`Row ${this.#wanted} is not here`)
    this.#wanted = null
    this.place = { ...this.place, row: null }
    history.replaceState(null, '', linkTo(this.place))
    this.#open()
  }

  #clicked (event: MouseEvent): void {
    const { target, button, ctrlKey, metaKey, shiftKey } = event
    if (!(target instanceof Element) || button !== 0 || ctrlKey || metaKey || shiftKey) return
    const link = target.closest('a')
    if (link === null || !link.getAttribute('href')?.startsWith('?')) return
    event.preventDefault()
    this.go(readPlace(link.search))
  }

  /** For a moment. */
  #say (text: string): void {
    clearTimeout(this.#sayTimer)
    setText(this.#said, text)
    this.#sayTimer = setTimeout(() => setText(this.#said, ''), 4000)
  }
}
