import { tail, type Row, type State, type Stopped, type Tail } from '../client/tail.ts'
import { startOf, type Place } from './place.ts'

/** `paused`: no more fits while somebody reads further up. */
export type Phase = Exclude<State, 'closed'> | 'paused'

export interface ReadingOptions {
  /** URL of the stream. */
  stream: string
  /** As the client has it. */
  timeout: number
  onrows: (rows: Row[]) => void
  onstate: (state: Phase, reason: string, before: Phase) => void
  onreset: (message: string) => void
  onstopped: (stopped: Stopped) => void
}

/** The stream of a place: it can be held, and goes on from there. */
export class Reading {
  state: Phase = 'connecting'
  readonly #options: ReadingOptions
  #place: Place | null = null
  #tail: Tail | null = null

  constructor (options: ReadingOptions) {
    this.#options = options
  }

  get isOpen (): boolean {
    return this.#tail !== null
  }

  open (place: Place): void {
    this.#place = place
    this.#start(startOf(place))
  }

  close (): void {
    this.#tail?.close()
    this.state = 'connecting'
  }

  hold (reason: string): void {
    this.#tail!.close()
    this.#show('paused', reason)
  }

  /** Where it was held. */
  resume (): void {
    if (this.state === 'paused') this.#start({ after: this.#tail!.cursor! })
  }

  #start (start: { after: string } | { tail: number }): void {
    const { stream, timeout, onrows, onreset, onstopped } = this.#options
    const { run, levels } = this.#place!
    this.#show('connecting', '')
    this.#tail = tail(stream, {
      run,
      level: levels,
      ...start,
      timeout,
      onrows,
      onreset,
      onstopped,
      onstate: (state, reason) => { if (state !== 'closed') this.#show(state, reason) }
    })
  }

  #show (state: Phase, reason: string): void {
    const before = this.state
    this.state = state
    this.#options.onstate(state, reason, before)
  }
}
