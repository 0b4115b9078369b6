const options = { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' } as const
const date = { year: 'numeric', month: '2-digit', day: '2-digit' } as const

/** How times are written: in local time or in UTC; with the day, where rows are of several. */
export class Clock {
  readonly #time: Intl.DateTimeFormat
  readonly #day: Intl.DateTimeFormat
  readonly #full: Intl.DateTimeFormat

  readonly #midnight: number

  constructor (utc: boolean) {
    this.#midnight = utc ? new Date().setUTCHours(0, 0, 0, 0) : new Date().setHours(0, 0, 0, 0)
    const zone = utc ? { timeZone: 'UTC' } : {}
    this.#time = new Intl.DateTimeFormat('en-GB', { ...options, ...zone })
    // The Swedish write days as ISO 8601 does.
    this.#day = new Intl.DateTimeFormat('sv-SE', { ...date, ...zone })
    this.#full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long', ...zone })
  }

  time (time: number): string {
    return Number.isNaN(time) ? '' : this.#time.format(time)
  }

  day (time: number): string {
    return Number.isNaN(time) ? '' : this.#day.format(time)
  }

  /** Of the day on which the page was opened. */
  isToday (time: number): boolean {
    return Number.isNaN(time) || (time >= this.#midnight && time < this.#midnight + 86_400_000)
  }

  full (time: number): string {
    return Number.isNaN(time) ? 'no time' : this.#full.format(time)
  }
}
