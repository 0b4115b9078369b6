import type { Word } from './messages.ts'
import { isHidden, supported } from './slots.ts'

/** Milliseconds after which whoever leads is asked for a word, and as long again after which it is frozen. */
const PATIENCE = 4000

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
  readonly #channel: BroadcastChannel | null
  readonly #abort = new AbortController()
  readonly #timer: ReturnType<typeof setInterval> | undefined
  #resign: (() => void) | null = null
  /** When whoever leads was last heard, and whether it has been asked since. */
  #heard = performance.now()
  #asked = false
  /** Whether there was ever anybody else: one alone need not talk. */
  #company = false

  /** @param shared false: alone, and in the lead */
  constructor (shared: boolean, options: TabsOptions) {
    this.#options = options
    this.#channel = shared && supported() ? new BroadcastChannel(options.name) : null
    this.#channel?.addEventListener('message', ({ data }: MessageEvent<Word>) => this.#hear(data))
    if (this.#channel === null) return
    this.#timer = setInterval(() => this.#look(), PATIENCE + Math.random() * 1000)
    this.#stand({ signal: this.#abort.signal })
  }

  get leads (): boolean {
    return this.#channel === null || this.#resign !== null
  }

  say (word: Said<Word>): void {
    if (this.#abort.signal.aborted) return
    if (!this.#company && (word.type === 'rows' || word.type === 'state')) return
    this.#channel?.postMessage({ ...word, from: this.id })
  }

  close (): void {
    clearInterval(this.#timer)
    this.#abort.abort()
    this.#channel?.close()
    this.#resign?.()
    this.#resign = null
  }

  #stand (options: LockOptions): void {
    const { name, onlead, ondeposed } = this.#options
    let led = false
    navigator.locks.request(name, options, () => {
      if (this.#abort.signal.aborted || this.#resign !== null) return
      led = true
      return new Promise<void>((resolve) => {
        this.#resign = resolve
        onlead()
      })
    }).catch(() => {
      if (!led || this.#abort.signal.aborted) return
      this.#resign = null
      this.#heard = performance.now()
      ondeposed()
      this.#stand({ signal: this.#abort.signal })
    })
  }

  #hear (word: Word): void {
    this.#company = true
    if (word.type !== 'hello' && word.type !== 'ping') {
      this.#heard = performance.now()
      this.#asked = false
    }
    this.#options.onword(word)
  }

  /** A lock is not let go of by who is frozen. Whoever is looked at takes it, then. */
  #look (): void {
    if (this.leads || isHidden() || performance.now() - this.#heard < PATIENCE) return
    if (!this.#asked) {
      this.#asked = true
      this.say({ type: 'ping' })
      return
    }
    this.#asked = false
    this.#heard = performance.now()
    this.#stand({ steal: true })
  }
}

/** Not by `crypto.randomUUID()`: without a secure context there is none. */
export function newName (): string {
  return Math.random().toString(36).slice(2)
}
