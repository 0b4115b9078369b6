/** Connections that an origin holds open for streams. HTTP/1.1 allows six to a host, and pages need some as well. */
export const SLOTS = 4
/** Milliseconds. How long one may keep a slot while others wait: whoever is looked at longer. */
const TURN = { visible: 3000, hidden: 1000 }
/** For whoever never gets an answer from the server. */
const LONGEST = 10_000
const ASK = 250
/** Milliseconds after which a tab that does not say a word is frozen. */
const FROZEN = 10_000

export interface Slot {
  /** Something was read: with less, a turn would be for nothing. */
  ready: boolean
  release: () => void
}

type Word = { type: 'wanted' | 'held', slot: number }

/**
 * The right to hold a connection open. Each slot is a lock: the browser knows who holds it, gives it to whoever
 * waits longest, and takes it from a tab that is gone. Without locks (no secure context) everybody has the right.
 */
export class Slots {
  readonly #name: string
  readonly #channel: BroadcastChannel | null
  #held: { slot: number, since: number, handle: Slot, onwanted: () => void } | null = null
  /** When a slot's holder was asked and has not answered. */
  readonly #asked = new Map<number, number>()

  constructor (origin: string) {
    this.#name = `fastify-pg-tail slot ${origin}`
    this.#channel = supported() ? new BroadcastChannel(this.#name) : null
    this.#channel?.addEventListener('message', ({ data }: MessageEvent<Word>) => this.#hear(data))
  }

  close (): void {
    this.#channel?.close()
  }

  /** Waits for its turn; null where the signal aborts before. `onwanted`: somebody else waits, and it is their turn. */
  take (signal: AbortSignal, onwanted: () => void): Promise<Slot | null> {
    if (signal.aborted) return Promise.resolve(null)
    if (this.#channel === null) return Promise.resolve({ ready: false, release () {} })
    return new Promise((resolve) => {
      const found = resolve
      const over = new AbortController()
      const either = AbortSignal.any([signal, over.signal])
      let next = Math.floor(Math.random() * SLOTS)
      const request = (slot: number, options: LockOptions) => {
        let mine = false
        navigator.locks.request(`${this.#name} ${slot}`, options, () => {
          // Another slot was faster: this one goes on to whoever is next.
          if (either.aborted) return
          over.abort()
          mine = true
          return new Promise<void>((resolve) => found(this.#hold(slot, resolve, onwanted)))
        }).catch(() => { if (mine) onwanted() })
      }
      const ask = () => {
        const slot = next++ % SLOTS
        const since = this.#asked.get(slot) ?? performance.now()
        this.#asked.set(slot, since)
        if (performance.now() - since > FROZEN && !isHidden()) {
          this.#asked.delete(slot)
          request(slot, { steal: true })
        } else this.#channel?.postMessage({ type: 'wanted', slot } satisfies Word)
      }
      const timer = setInterval(ask, ASK)
      either.addEventListener('abort', () => {
        clearInterval(timer)
        this.#asked.clear()
        if (signal.aborted) resolve(null)
      }, { once: true })
      for (let slot = 0; slot < SLOTS; slot++) request(slot, { signal: either })
    })
  }

  #hold (slot: number, release: () => void, onwanted: () => void): Slot {
    const handle: Slot = {
      ready: false,
      release: () => {
        if (this.#held?.handle === handle) this.#held = null
        release()
      }
    }
    this.#held = { slot, since: performance.now(), handle, onwanted }
    return handle
  }

  /** In the event and not by a timer: those of a hidden tab run once a minute. */
  #hear ({ type, slot }: Word): void {
    if (type === 'held') {
      this.#asked.delete(slot)
      return
    }
    if (this.#held?.slot !== slot) return
    const { since, handle, onwanted } = this.#held
    this.#channel?.postMessage({ type: 'held', slot } satisfies Word)
    const turn = handle.ready ? isHidden() ? TURN.hidden : TURN.visible : LONGEST
    if (performance.now() - since >= turn) onwanted()
  }
}

/** Whether tabs can agree with each other: both need a browser of today, locks a secure context as well. */
export function supported (): boolean {
  return typeof BroadcastChannel === 'function' && typeof navigator === 'object' && navigator.locks !== undefined
}

export function isHidden (): boolean {
  return typeof document === 'object' && document.hidden
}
