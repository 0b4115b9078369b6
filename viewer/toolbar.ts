import { h, icon, setText } from './dom.ts'
import { toneOf } from './entry.ts'

/** A button. */
export interface Action { id: string, label: string, icon: string, run: () => void }

export interface ToolbarOptions {
  /** What stands before the title, such as a button for a menu. */
  lead: readonly HTMLElement[]
  onlevel: (level: string) => void
  onfind: (text: string) => void
  /** To the next match, or back. */
  onstep: (step: 1 | -1) => void
  onleavefind: () => void
  actions: Action[]
}

/** What is above the rows: the title, the state, levels, search and buttons. */
export class Toolbar {
  readonly element: HTMLElement
  readonly find = h('input', { id: 'find', type: 'search', placeholder: 'Find in messages', 'aria-label': 'Find in messages', title: 'Text, or /a regular expression/, in messages and further columns', 'aria-describedby': 'found', autocomplete: 'off', spellcheck: 'false' })
  readonly #title = h('h1', { id: 'title' })
  readonly #subtitle = h('span', { id: 'subtitle' })
  readonly #state = h('span', { id: 'state' })
  readonly #reason = h('span', { id: 'state-message' })
  readonly #connection = h('div', { id: 'connection', role: 'status', 'data-state': 'connecting' }, this.#reason, this.#state)
  readonly #levels = h('div', { id: 'levels', role: 'group' })
  readonly #found = h('span', { id: 'found' })
  readonly #buttons = new Map<string, HTMLButtonElement>()

  constructor ({ lead, onlevel, onfind, onstep, onleavefind, actions }: ToolbarOptions) {
    const step = (id: string, label: string, path: string, direction: 1 | -1) => button(id, label, path, () => onstep(direction))
    const search = h('div', { id: 'search', role: 'search' }, this.find, this.#found,
      step('previous', 'Previous match', 'M4 10l4-4 4 4', -1), step('next', 'Next match', 'M4 6l4 4 4-4', 1))
    const tools = h('div', { id: 'tools', role: 'group', 'aria-label': 'Tools' })
    for (const action of actions) {
      const element = button(action.id, action.label, action.icon, action.run)
      this.#buttons.set(action.id, element)
      tools.append(element)
    }
    this.element = h('header', { id: 'toolbar' },
      h('div', { class: 'line' }, ...lead, h('div', { class: 'title' }, this.#title, this.#subtitle), this.#connection),
      h('div', { class: 'line' }, this.#levels, search, tools))
    this.#levels.addEventListener('click', ({ target }) => {
      const level = target instanceof HTMLElement && target.dataset['level']
      if (level) onlevel(level)
    })
    this.find.addEventListener('input', () => onfind(this.find.value))
    this.find.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') onstep(event.shiftKey ? -1 : 1)
      else if (event.key === 'Escape') onleavefind()
      else return
      event.preventDefault()
    })
  }

  /** Those beyond the ninth have no key. `chosen`: null is all. */
  showLevels (levels: readonly string[], chosen: readonly string[] | null): void {
    // With one of them off, rows without a level are gone as well: it is no list of what is left out.
    this.#levels.setAttribute('aria-label', chosen === null ? 'Levels' : 'Only these levels')
    this.#levels.title = chosen === null ? '' : `Only these levels: ${chosen.join(', ')}`
    while (this.#levels.childElementCount > levels.length) this.#levels.lastElementChild!.remove()
    levels.forEach((level, index) => {
      const element = this.#levels.children[index] ?? this.#levels.appendChild(h('button', { type: 'button' }))
      setText(element, level)
      element.setAttribute('data-level', level)
      element.setAttribute('data-tone', toneOf(level))
      element.setAttribute('aria-pressed', String(chosen === null || chosen.includes(level)))
    })
  }

  showTitle (title: string, subtitle: string): void {
    setText(this.#title, title)
    this.#title.title = title
    setText(this.#subtitle, subtitle)
  }

  showState (state: string, reason: string): void {
    this.#connection.dataset['state'] = state
    this.#connection.title = reason
    setText(this.#state, state)
    setText(this.#reason, reason)
  }

  showFound (text: string): void {
    setText(this.#found, text)
  }

  press (id: string, pressed: boolean): void {
    this.#buttons.get(id)!.setAttribute('aria-pressed', String(pressed))
  }
}

function button (id: string, label: string, path: string, run: () => void): HTMLButtonElement {
  const element = h('button', { type: 'button', id, class: 'tool', title: label, 'aria-label': label }, icon(path))
  element.addEventListener('click', run)
  return element
}
