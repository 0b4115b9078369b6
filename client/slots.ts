import { claim, isHidden, openChannel, PREFIX } from './browser.ts'
import { Slot } from './slot.ts'

/** Connections that an origin holds open for streams. HTTP/1.1 allows six to a host, and pages need some as well. */
const SLOTS = 4
/** Milliseconds. */
const ASK = 250
/** Milliseconds after which a tab that does not say a word is frozen. */
const FROZEN = 10_000

type Word = { type: 'wanted', number: number, hidden: boolean } | { type: 'held', number: number }

export interface Holder {
  /** Why the connection has to be given up: it is somebody else's turn, or nobody looks. */
  onleave: (why: 'turn' | 'hidden') => void
  /** The right is there only once somebody looks. */
  onhidden: () => void
}

/**
 * Who may hold a connection open. Each slot is a lock: the browser knows who holds it, gives it to whoever
 * waits longest, and takes it from a tab that is gone. Without locks nobody can be asked, and a tab has the right while it is looked at.
 */
export class Slots {
  readonly #name: string
  readonly #hidden: () => boolean
  #channel: BroadcastChannel | null
  #held: { number: number, slot: Slot, holder: Holder } | null = null
  /** When a slot's holder was asked and has not answered. */
  readonly #asked = new Map<number, number>()

  /** @param hidden whether nobody looks at what the connection brings */
  constructor (origin: string, hidden: () => boolean) {
    this.#hidden = hidden
    this.#name = `${PREFIX} slot ${origin}`
    this.#channel = openChannel(this.#name)
    this.#channel?.addEventListener('message', ({ data }: MessageEvent<Word>) => this.#hear(data))
  }

  close (): void {
    this.#channel?.close()
  }

  /** Waits for its turn; null where the signal aborts before, or where it has to be asked for again. */
  take (signal: AbortSignal, holder: Holder): Promise<Slot | null> {
    if (this.#channel === null) return takeWhileVisible(signal, holder)
    return new Promise((resolve) => {
      const over = new AbortController()
      let next = Math.floor(Math.random() * SLOTS)
      const request = (number: number, options: LockOptions) => {
        let mine = false
        claim(`${this.#name} ${number}`, options, {
          ongrant: (release) => {
            // Another slot was faster: this one goes on to whoever is next.
            if (over.signal.aborted) return release()
            over.abort()
            mine = true
            resolve(this.#hold(number, release, holder))
          },
          onloss: () => {
            if (mine) return holder.onleave('turn')
            over.abort()
            resolve(null)
          },
          onrefusal: () => {
            if (over.signal.aborted) return
            this.close()
            this.#channel = null
            over.abort()
            resolve(takeWhileVisible(signal, holder))
          }
        })
      }
      const ask = () => {
        const number = next++ % SLOTS
        const since = this.#asked.get(number) ?? performance.now()
        this.#asked.set(number, since)
        if (performance.now() - since > FROZEN && !isHidden()) {
          this.#asked.delete(number)
          request(number, { steal: true })
        } else this.#say({ type: 'wanted', number, hidden: this.#hidden() })
      }
      const timer = setInterval(ask, ASK)
      over.signal.addEventListener('abort', () => {
        clearInterval(timer)
        this.#asked.clear()
      })
      signal.addEventListener('abort', () => {
        over.abort()
        resolve(null)
      })
      for (let number = 0; number < SLOTS; number++) request(number, { signal: over.signal })
    })
  }

  #hold (number: number, release: () => void, holder: Holder): Slot {
    const slot = new Slot(() => {
      if (this.#held?.slot === slot) this.#held = null
      release()
    })
    this.#held = { number, slot, holder }
    return slot
  }

  /** In the event and not by a timer: those of a hidden tab run once a minute. */
  #hear (word: Word): void {
    if (word.type === 'held') {
      this.#asked.delete(word.number)
      return
    }
    if (this.#held?.number !== word.number) return
    const { number, slot, holder } = this.#held
    this.#say({ type: 'held', number })
    if (slot.isOver(this.#hidden(), word.hidden)) holder.onleave('turn')
  }

  #say (word: Word): void {
    this.#channel?.postMessage(word)
  }
}

/** Where nobody can be asked. */
function takeWhileVisible (signal: AbortSignal, { onleave, onhidden }: Holder): Promise<Slot | null> {
  return new Promise((resolve) => {
    let slot: Slot | null = null
    const look = () => {
      if (signal.aborted) return
      if (!isHidden()) resolve(slot ??= new Slot(stop))
      else if (slot === null) onhidden()
      else onleave('hidden')
    }
    const stop = () => globalThis.document?.removeEventListener('visibilitychange', look)
    globalThis.document?.addEventListener('visibilitychange', look)
    signal.addEventListener('abort', () => {
      stop()
      resolve(null)
    })
    // Nobody is called back before the handle is there.
    queueMicrotask(look)
  })
}
