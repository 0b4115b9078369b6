import { h } from './dom.ts'

export interface Key {
  /** As `KeyboardEvent.key` has them. */
  keys: string[]
  /** What the overlay says; keys without a text are others' second names. */
  text: string
  /** `again`: the key is held down. */
  run: () => void
}

/** The keys of the page, and the overlay that tells of them. */
export class Keys {
  readonly dialog: HTMLDialogElement
  readonly #keys: Key[]

  constructor (keys: Key[]) {
    this.#keys = keys
    const close = h('button', { type: 'button', 'aria-label': 'Close' }, 'Esc')
    const list = h('dl', {}, ...keys.filter(({ text }) => text !== '').flatMap(({ keys, text }) =>
      [h('dt', {}, ...keys.map((key) => h('kbd', {}, NAMES[key] ?? key))), h('dd', {}, text)]))
    this.dialog = h('dialog', { id: 'help', 'aria-labelledby': 'help-title' }, h('header', {}, h('h2', { id: 'help-title' }, 'Keyboard'), close), list)
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
    if (target instanceof Element && target.closest('input, textarea, select')) return
    // What is pressed is pressed.
    if (key === 'Enter' && target instanceof Element && target.closest('a, button')) return
    if (this.dialog.open && key !== '?') return
    const found = this.#keys.find(({ keys }) => keys.includes(key))
    if (found === undefined) return
    event.preventDefault()
    found.run()
  }
}

const NAMES: Record<string, string> = { ArrowDown: '↓', ArrowUp: '↑', Enter: '↵', Escape: 'Esc', 1: '1 … 9' }
