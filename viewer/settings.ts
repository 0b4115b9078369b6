const KEY = 'fastify-pg-tail'
const THEMES = ['auto', 'light', 'dark'] as const

export type Setting = 'utc' | 'wrap' | 'keys' | 'theme'

/** How somebody likes to look at logs; kept by the browser, where it may. */
export class Settings {
  utc = false
  wrap = true
  /** Keys of one character do something. */
  keys = true
  theme: typeof THEMES[number] = 'auto'
  readonly #root: HTMLElement
  readonly #onchange: (name: Setting) => void

  constructor (root: HTMLElement, onchange: (name: Setting) => void) {
    this.#root = root
    this.#onchange = onchange
    try {
      const { utc, wrap, keys, theme } = JSON.parse(localStorage.getItem(KEY) ?? '{}')
      this.utc = utc === true
      this.wrap = wrap !== false
      this.keys = keys !== false
      this.theme = THEMES.find((name) => name === theme) ?? 'auto'
    } catch {}
    this.#show()
  }

  toggle (name: 'utc' | 'wrap' | 'keys'): void {
    this[name] = !this[name]
    this.#changed(name)
  }

  nextTheme (): void {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]!
    this.#changed('theme')
  }

  #changed (name: Setting): void {
    const { utc, wrap, keys, theme } = this
    try {
      localStorage.setItem(KEY, JSON.stringify({ utc, wrap, keys, theme }))
    } catch {}
    this.#show()
    this.#onchange(name)
  }

  #show (): void {
    this.#root.classList.toggle('nowrap', !this.wrap)
    this.#root.dataset['theme'] = this.theme
  }
}
