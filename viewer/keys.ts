import { h } from './dom.ts'
import type { Settings } from './settings.ts'

export interface Key {
  /** As `KeyboardEvent.key` has them. */
  keys: string[]
  /** What the overlay says; keys without a text are others' second names. */
  text: string
  /** Again and again while it is held down. */
  repeats: boolean
  run: () => void
}

/** The keys of the page, and the overlay that tells of them. */
export class Keys {
  readonly dialog: HTMLDialogElement
  readonly #keys: Key[]
  readonly #root: HTMLElement
  readonly #settings: Settings

  constructor (keys: Key[], root: HTMLElement, settings: Settings) {
    this.#keys = keys
    this.#root = root
    this.#settings = settings
    const close = h('button', { type: 'button' }, 'Close')
    const list = h('dl', {}, ...keys.filter(({ text }) => text !== '').flatMap(({ keys, text }) =>
      [h('dt', {}, ...keys.map((key) => h('kbd', {}, NAMES[key] ?? key))), h('dd', {}, text)]))
    const single = h('input', { type: 'checkbox', checked: settings.keys })
    this.dialog = h('dialog', { id: 'help', 'aria-labelledby': 'help-title' }, h('header', {}, h('h2', { id: 'help-title' }, 'Keyboard'), close), list,
      h('label', {}, single, 'Keys of one character are on'))
    single.addEventListener('change', () => settings.toggle('keys'))
    close.addEventListener('click', () => this.dialog.close())
    // A click beside it.
    this.dialog.addEventListener('click', ({ target }) => { if (target === this.dialog) this.dialog.close() })
    document.addEventListener('keydown', (event) => this.#press(event))
  }

  toggle (): void {
    if (this.dialog.open) this.dialog.close()
    else this.dialog.showModal()
  }

  #press (event: KeyboardEvent): void {
    const { key, target, ctrlKey, metaKey, altKey } = event
    if (ctrlKey || metaKey || altKey || event.defaultPrevented || event.isComposing) return
    if (!(target instanceof HTMLElement) || target.isContentEditable || target.closest('input, textarea, select') !== null) return
    // What is pressed is pressed.
    if (key === 'Enter' && target.closest('a, button') !== null) return
    // What else is in the page has keys of its own.
    if (!this.#root.contains(target) && (target.closest('button, dialog') !== null || (key.startsWith('Arrow') && target.closest('a') !== null))) return
    if (this.dialog.open && key !== '?') return
    // Who speaks to the machine, or trembles, types them without wanting to.
    if (key.length === 1 && !this.#settings.keys) return
    const found = this.#keys.find(({ keys }) => keys.includes(key))
    if (found === undefined) return
    event.preventDefault()
    if (!event.repeat || found.repeats) found.run()
  }
}

const NAMES: Record<string, string> = { ArrowDown: '↓', ArrowUp: '↑', Enter: '↵', 1: '1 … 9' }
