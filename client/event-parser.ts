/** One block of an event stream, also one that has no data: EventSource would swallow that, with its id. */
export interface StreamEvent {
  id?: string
  data?: string
  /** Milliseconds. */
  retry?: number
}

/** Takes an event stream bit by bit, as text, and gives its events. What has no end yet is kept, or lost with its connection. */
export class EventParser {
  /** The beginning of a line whose end has not come. In parts: a message of megabytes is searched once. */
  #line: string[] = []
  #event: StreamEvent = {}
  #afterCr = false

  /** Whether an event has begun and not ended. */
  get partial (): boolean {
    return this.#line.length > 0 || Object.keys(this.#event).length > 0
  }

  feed (text: string): StreamEvent[] {
    const events: StreamEvent[] = []
    let from = 0
    // The second half of a line break that was cut in two.
    if (this.#afterCr && text.startsWith('\n')) from = 1
    if (text !== '') this.#afterCr = text.endsWith('\r')
    const breaks = /\r\n|\n|\r/g
    breaks.lastIndex = from
    for (let found; (found = breaks.exec(text)) !== null; from = breaks.lastIndex) {
      const end = text.slice(from, found.index)
      const line = this.#line.length === 0 ? end : this.#line.join('') + end
      this.#line = []
      if (line === '') this.#finish(events)
      else this.#read(line)
    }
    if (from < text.length) this.#line.push(text.slice(from))
    return events
  }

  #read (line: string): void {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'data') this.#event.data = this.#event.data === undefined ? value : `${this.#event.data}\n${value}`
    else if (name === 'id' && !value.includes('\0')) this.#event.id = value
    else if (name === 'retry' && /^\d{1,9}$/.test(value)) this.#event.retry = Number(value)
  }

  #finish (events: StreamEvent[]): void {
    const event = this.#event
    if (event.data === undefined && event.id === undefined && event.retry === undefined) return
    events.push(event)
    this.#event = {}
  }
}
