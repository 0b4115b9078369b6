import { claim, isHidden, openChannel } from './browser.ts'
import type { Word } from './messages.ts'

/** Milliseconds after which whoever leads is asked for a word, and as long again after which it is frozen. */
const PATIENCE = 4000
/** Milliseconds that a question counts: with that patience, and a timer of it, the next is there by then. */
const WATCHED = 10_000

type Said<W> = W extends unknown ? Omit<W, 'from'> : never

export interface TabsOptions {
  /** The same for all who watch the same. */
  name: string
  onword: (word: Word) => void
  /** This tab leads from now on: its connection is for all. */
  onlead: () => void
  /** Another tab has taken over: this one had not said a word for long. */
  ondeposed: () => void
}

/** The tabs that watch the same: a channel to talk, and a lock that says who leads. */
export class Tabs {
  readonly id = newName()
  readonly #options: TabsOptions
  #channel: BroadcastChannel | null
  /** For the lock: one at a time. Aborted for good when this is closed. */
  #request = new AbortController()
  readonly #timer: ReturnType<typeof setInterval> | undefined
  #resign: (() => void) | null = null
  /** When whoever leads was last heard, and whether it has been asked since. */
  #heard = performance.now()
  #asked = false
  /** When another tab last asked for a word. */
  #pinged = -Infinity
  /** Whether there was ever anybody else: one alone need not talk. */
  #company = false
  readonly #ask = () => {
    if (this.leads || isHidden()) return
    this.#asked = true
    this.#heard = performance.now()
    this.say({ type: 'ping' })
  }

  /** @param shared false: alone, and in the lead */
  constructor (shared: boolean, options: TabsOptions) {
    this.#options = options
    this.#channel = shared ? openChannel(options.name) : null
    if (this.#channel === null) return
    this.#channel.addEventListener('message', ({ data }: MessageEvent<Word>) => this.#hear(data))
    this.#timer = setInterval(() => this.#look(), PATIENCE + Math.random() * 1000)
    // WebKit drops what was said while a page lay in the back/forward cache.
    globalThis.addEventListener?.('pageshow', this.#ask)
    globalThis.document?.addEventListener('visibilitychange', this.#ask)
    this.#stand({ signal: this.#request.signal })
  }

  get leads (): boolean {
    return this.#channel === null || this.#resign !== null
  }

  /** Whether there can be others. */
  get shared (): boolean {
    return this.#channel !== null
  }

  /** Whether nobody looks at this tab, nor, while it leads, at one that follows: whoever is looked at and hears nothing asks. */
  get hidden (): boolean {
    return isHidden() && !(this.leads && performance.now() - this.#pinged < WATCHED)
  }

  say (word: Said<Word>): void {
    if (this.#request.signal.aborted) return
    if (!this.#company && (word.type === 'rows' || word.type === 'state')) return
    this.#channel?.postMessage({ ...word, from: this.id })
  }

  close (): void {
    clearInterval(this.#timer)
    globalThis.removeEventListener?.('pageshow', this.#ask)
    globalThis.document?.removeEventListener('visibilitychange', this.#ask)
    this.#request.abort()
    this.#channel?.close()
    this.#resign?.()
    this.#resign = null
  }

  #stand (options: LockOptions): void {
    const { name, onlead, ondeposed } = this.#options
    const { signal } = this.#request
    claim(name, options, {
      ongrant: (release) => {
        if (signal.aborted) return release()
        this.#resign = release
        onlead()
      },
      onloss: () => {
        if (signal.aborted) return
        const led = this.#resign !== null
        this.#resign = null
        this.#heard = performance.now()
        if (led) ondeposed()
        this.#stand({ signal })
      },
      onrefusal: () => {
        this.close()
        this.#channel = null
        onlead()
      }
    })
  }

  #hear (word: Word): void {
    this.#company = true
    if (word.type === 'ping') this.#pinged = performance.now()
    else if (word.type !== 'hello') {
      this.#heard = performance.now()
      this.#asked = false
    }
    this.#options.onword(word)
  }

  /** A lock is not let go of by who is frozen. Whoever is looked at takes it, then. */
  #look (): void {
    if (this.leads || isHidden() || performance.now() - this.#heard < PATIENCE) return
    if (!this.#asked) return this.#ask()
    this.#asked = false
    this.#heard = performance.now()
    // Instead of waiting for it.
    this.#request.abort()
    this.#request = new AbortController()
    this.#stand({ steal: true })
  }
}

/** Not by `crypto.randomUUID()`: without a secure context there is none. */
export function newName (): string {
  return Math.random().toString(36).slice(2)
}
