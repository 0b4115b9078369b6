import { rowsOf } from './hints.ts'
import type { Levels } from './levels.ts'
import { linkTo, type Place } from './place.ts'
import type { Rows } from './rows.ts'
import { asJson, asText, copy, download } from './save.ts'
import type { Settings } from './settings.ts'

export interface CommandsOptions {
  rows: Rows
  levels: Levels
  settings: Settings
  /** What is looked at. */
  place: () => Place
  go: (place: Place) => void
  /** Says it for a moment. */
  say: (text: string) => void
  find: () => HTMLInputElement
}

/** What buttons and keys do. */
export class Commands {
  readonly #options: CommandsOptions

  constructor (options: CommandsOptions) {
    this.#options = options
  }

  // ---- Where to ----

  newest (): void {
    const { list, element } = this.#options.rows
    list.follow()
    element.focus({ preventScroll: true })
  }

  moveToError (step: 1 | -1): void {
    if (!this.#options.rows.moveToError(step)) this.#options.say(step === 1 ? 'No error below' : 'No error above')
  }

  focusFind (): void {
    const find = this.#options.find()
    find.focus()
    find.select()
  }

  leaveFind (): void {
    const { find, rows } = this.#options
    find().value = ''
    rows.search('')
    rows.element.focus()
  }

  /** Of the selected row. */
  openRun (): void {
    const { rows, go } = this.#options
    const { run, levels } = this.#options.place()
    const mine = rows.selected?.run ?? null
    if (run === null && mine !== null) go({ run: String(mine), levels, row: null, tail: null })
  }

  // ---- Which levels ----

  toggleLevel (name: string): void {
    this.#chooseLevels(this.#options.levels.toggle(name))
  }

  toggleLevelAt (index: number): void {
    const name = this.#options.levels.names[index]
    if (name !== undefined) this.toggleLevel(name)
  }

  allLevels (): void {
    this.#chooseLevels(null)
  }

  #chooseLevels (levels: string[] | null): void {
    const { place, go } = this.#options
    go({ ...place(), levels, row: null })
  }

  // ---- What to take along ----

  async copyLink (): Promise<void> {
    const { rows, place, say } = this.#options
    const id = rows.selected?.id ?? null
    if (id !== null) history.replaceState(null, '', linkTo({ ...place(), row: String(id) }))
    say(await copy(location.href) ? `The link to ${id === null ? 'this log' : `row ${id}`} is copied` : 'It could not be copied')
  }

  async copyRows (): Promise<void> {
    const { rows, place, say } = this.#options
    const { all } = rows
    const done = await copy(asText(all, place().run === null).join(''))
    say(done ? `${rowsOf(all.length)} copied` : 'They could not be copied')
  }

  download (form: 'log' | 'jsonl'): void {
    const { rows, place } = this.#options
    const { run } = place()
    const name = run === null ? 'log' : `run-${run.replace(/[^\w.-]/g, '_')}`
    const lines = form === 'log' ? asText(rows.all, run === null) : asJson(rows.all)
    download(lines, `${name}-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.${form}`)
  }

  // ---- How it looks ----

  theme (): void {
    const { settings, say } = this.#options
    settings.nextTheme()
    say(`Colours: ${settings.theme}`)
  }

  utc (): void {
    const { settings, say } = this.#options
    settings.toggle('utc')
    say(settings.utc ? 'Times are UTC' : 'Times are local')
  }
}
