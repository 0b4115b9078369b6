const KEY = 'fastify-pg-tail'
const THEMES = ['auto', 'light', 'dark'] as const

/** How somebody likes to look at logs; kept by the browser, where it may. */
export class Settings {
  utc = false
  wrap = true
  #theme: typeof THEMES[number] = 'auto'
  readonly #root: HTMLElement
  readonly #onchange: () => void

  constructor (root: HTMLElement, onchange: () => void) {
    this.#root = root
    this.#onchange = onchange
    try {
      const { utc, wrap, theme } = JSON.parse(localStorage.getItem(KEY) ?? '{}')
      this.utc = utc === true
      this.wrap = wrap !== false
      this.#theme = THEMES.find((name) => name === theme) ?? 'auto'
    } catch {}
    this.#show()
  }

  toggle (name: 'utc' | 'wrap'): void {
    this[name] = !this[name]
    this.#changed()
  }

  nextTheme (): string {
    this.#theme = THEMES[(THEMES.indexOf(this.#theme) + 1) % THEMES.length]!
    this.#changed()
    return this.#theme
  }

  #changed (): void {
    try {
      localStorage.setItem(KEY, JSON.stringify({ utc: this.utc, wrap: this.wrap, theme: this.#theme }))
    } catch {}
    this.#show()
    this.#onchange()
  }

  #show (): void {
    this.#root.classList.toggle('nowrap', !this.wrap)
    document.documentElement.dataset['theme'] = this.#theme
  }
}
